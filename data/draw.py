"""Boxes on pictures."""

import colorsys
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]  # RGB

WHITE, GREY, BLACK = (255, 255, 255), (190, 190, 190), (0, 0, 0)
DASH_PX = 5


class Plate(NamedTuple):
    """Room for a name, px."""

    x1: int
    y1: int
    x2: int
    y2: int


def class_colour(label: int) -> Colour:
    """Well apart for neighbouring classes (steps of the golden ratio round the colour circle)."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1, 0.85, 1.0)
    return int(red * 255), int(green * 255), int(blue * 255)


def draw_boxes(
    image: Image,
    boxes_xyxy_px: NDArray[np.floating],
    labels: NDArray[np.integer] | None,
    scores: NDArray[np.floating] | None,
    classes: tuple[str, ...],
) -> Image:
    """A copy of the RGB image with the boxes on it; without labels they are truths: thin and white."""
    drawn = np.ascontiguousarray(image).copy()
    corners = _corners(image, boxes_xyxy_px)
    if labels is None:
        for corner in corners:
            cv2.rectangle(drawn, corner[:2], corner[2:], WHITE, 1)
        return drawn
    for number, (corner, label) in enumerate(zip(corners, labels.tolist(), strict=True)):
        cv2.rectangle(drawn, corner[:2], corner[2:], class_colour(label), _thickness(image) + 1)
        text = classes[label] + (f" {scores[number]:.2f}" if scores is not None else "")
        _write(drawn, text, _plates(image, text, corner)[0], class_colour(label))
    return drawn


def draw_truths(
    image: Image,
    boxes_xyxy_px: NDArray[np.floating],
    labels: NDArray[np.integer],
    difficult: NDArray[np.bool_],
    crowd: NDArray[np.bool_],
    classes: tuple[str, ...],
) -> Image:
    """A copy of the RGB image with its truths; those that are never trained on are dashed and grey, and say why.

    A name is left out where it would cover another one.
    """
    drawn = np.ascontiguousarray(image).copy()
    corners = _corners(image, boxes_xyxy_px)
    colours = [class_colour(label) for label in labels.tolist()]
    texts = [classes[label] for label in labels.tolist()]
    dashed = np.zeros(image.shape[:2], np.uint8)
    for number, corner in enumerate(corners):
        if difficult[number] or crowd[number]:
            colours[number] = GREY
            texts[number] += ", crowd" if crowd[number] else ", difficult"
            cv2.rectangle(dashed, corner[:2], corner[2:], 1, _thickness(image) + 1)
        else:
            cv2.rectangle(drawn, corner[:2], corner[2:], colours[number], _thickness(image) + 1)
    rows, columns = np.nonzero(dashed)
    drawn[rows, columns] = np.where(((rows + columns) // DASH_PX % 2 == 0)[:, None], GREY, BLACK)
    taken: list[Plate] = []
    for corner, text, colour in zip(corners, texts, colours, strict=True):
        free = [plate for plate in _plates(image, text, corner) if not any(_overlap(plate, other) for other in taken)]
        if free:
            _write(drawn, text, free[0], colour)
            taken.append(free[0])
    return drawn


def _corners(image: Image, boxes_xyxy_px: NDArray[np.floating]) -> list[tuple[int, int, int, int]]:
    far = 10 * max(image.shape)  # a box may reach out of the picture, OpenCV's integers end somewhere
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in np.rint(np.clip(boxes_xyxy_px, -far, far)).astype(int).tolist()]


def _thickness(image: Image) -> int:
    return max(1, round(_longer_side(image) / 400))


def _letters(image: Image) -> float:
    return 0.4 * max(1.0, _longer_side(image) / 640)


def _longer_side(image: Image) -> int:
    return max(int(image.shape[0]), int(image.shape[1]))


def _plates(image: Image, text: str, corner: tuple[int, int, int, int]) -> list[Plate]:
    """Where a name may stand: above the box (in it where the picture ends above it), below it."""
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, _letters(image), _thickness(image))
    width, height = width + 2, height + 4
    left = max(0, min(corner[0], image.shape[1] - 1 - width))
    tops = max(corner[1] - height, 0), min(corner[3], image.shape[0] - 1 - height)
    return [Plate(left, top, left + width, top + height) for top in tops]


def _overlap(a: Plate, b: Plate) -> bool:
    return a.x1 < b.x2 and b.x1 < a.x2 and a.y1 < b.y2 and b.y1 < a.y2


def _write(image: Image, text: str, plate: Plate, colour: Colour) -> None:
    cv2.rectangle(image, (plate.x1, plate.y1), (plate.x2, plate.y2), colour, cv2.FILLED)
    at, font = (plate.x1 + 1, plate.y2 - 3), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(image, text, at, font, _letters(image), BLACK, _thickness(image), cv2.LINE_AA)
