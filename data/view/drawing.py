"""Boxes on pictures: detections solid in the colour of their class, truths beside detections dashed in white."""

import colorsys
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]  # RGB
Corner = tuple[int, int, int, int]  # left, top, right, bottom, px

WHITE, GREY, BLACK = (255, 255, 255), (190, 190, 190), (0, 0, 0)
DASH_PX = 5
FONT = cv2.FONT_HERSHEY_SIMPLEX
LUMINANCE = (0.299, 0.587, 0.114)
BRIGHT = 100  # of 255: names on colours darker than this are white
LEGEND_PX = 20


class Plate(NamedTuple):
    """Room for a name, px."""

    x1: int
    y1: int
    x2: int
    y2: int


def class_colour(label: int) -> Colour:
    """A colour far from those of neighbouring classes (steps of the golden ratio around the colour circle)."""
    red, green, blue = colorsys.hsv_to_rgb(label * 0.618034 % 1, 0.85, 1.0)
    return int(red * 255), int(green * 255), int(blue * 255)


def draw_boxes(
    image: Image,
    boxes_xyxy_px: NDArray[np.floating],
    labels: NDArray[np.integer],
    scores: NDArray[np.floating],
    classes: tuple[str, ...],
    *,
    named: bool = True,
) -> Image:
    """A copy of the RGB image with detections drawn on it, the best on top.

    A name is left out if it would cover that of a better one.
    """
    drawn = np.ascontiguousarray(image).copy()
    corners = _corners(image, boxes_xyxy_px)
    worst_first = np.argsort(scores, kind="stable").tolist()
    for number in worst_first:
        cv2.rectangle(
            drawn, corners[number][:2], corners[number][2:], class_colour(int(labels[number])), _thickness(image) + 1
        )
    if named:
        best_first = worst_first[::-1]
        texts = [f"{classes[labels[number]]} {scores[number]:.2f}" for number in best_first]
        colours = [class_colour(int(labels[number])) for number in best_first]
        _write_apart(drawn, texts, [corners[number] for number in best_first], colours)
    return drawn


def draw_dashed(
    image: Image,
    boxes_xyxy_px: NDArray[np.floating],
    labels: NDArray[np.integer],
    ignored: NDArray[np.bool_],
    classes: tuple[str, ...],
) -> Image:
    """A copy with truths drawn beside detections: names below the boxes, grey if finding them does not count."""
    drawn = np.ascontiguousarray(image).copy()
    corners = _corners(image, boxes_xyxy_px)
    _dash(drawn, corners, WHITE)
    for corner, label, neutral in zip(corners, labels.tolist(), ignored.tolist(), strict=True):
        _write(drawn, classes[label], _plates(image, classes[label], corner)[1], GREY if neutral else WHITE)
    return drawn


def legend(width: int, dashed: str, solid: str, title: str) -> Image:
    """A line of text to put below such a picture."""
    line = np.zeros((LEGEND_PX, width, 3), np.uint8)
    x, middle = 6, LEGEND_PX // 2
    for text, colour in ((dashed, WHITE), (solid, class_colour(0))):
        end = x + 4 * DASH_PX
        for start in range(x, end, 2 * DASH_PX):
            cv2.line(line, (start, middle), (start + DASH_PX if text == dashed else end, middle), colour, 2)
        cv2.putText(line, text, (end + 6, middle + 4), FONT, 0.4, WHITE, 1, cv2.LINE_AA)
        x = end + 6 + cv2.getTextSize(text, FONT, 0.4, 1)[0][0] + 16
    cv2.putText(line, title, (x, middle + 4), FONT, 0.4, GREY, 1, cv2.LINE_AA)
    return line


def draw_truths(
    image: Image,
    boxes_xyxy_px: NDArray[np.floating],
    labels: NDArray[np.integer],
    difficult: NDArray[np.bool_],
    crowd: NDArray[np.bool_],
    classes: tuple[str, ...],
) -> Image:
    """A copy of the RGB image with its truths; those never trained on are dashed and grey, and say why.

    A name is left out if it would cover another.
    """
    drawn = np.ascontiguousarray(image).copy()
    corners = _corners(image, boxes_xyxy_px)
    colours = [class_colour(label) for label in labels.tolist()]
    texts = [classes[label] for label in labels.tolist()]
    for number, corner in enumerate(corners):
        if difficult[number] or crowd[number]:
            colours[number] = GREY
            texts[number] += ", crowd" if crowd[number] else ", difficult"
        else:
            cv2.rectangle(drawn, corner[:2], corner[2:], colours[number], _thickness(image) + 1)
    _dash(drawn, [corner for corner, colour in zip(corners, colours, strict=True) if colour == GREY], GREY)
    _write_apart(drawn, texts, corners, colours)
    return drawn


def _write_apart(image: Image, texts: Sequence[str], corners: Sequence[Corner], colours: Sequence[Colour]) -> None:
    """Writes each name above or below its box; leaves it out if both would cover an earlier one."""
    taken: list[Plate] = []
    for corner, text, colour in zip(corners, texts, colours, strict=True):
        free = [plate for plate in _plates(image, text, corner) if not any(_overlap(plate, other) for other in taken)]
        if free:
            _write(image, text, free[0], colour)
            taken.append(free[0])


def _dash(drawn: Image, corners: Sequence[Corner], colour: Colour) -> None:
    lines = np.zeros(drawn.shape[:2], np.uint8)
    for corner in corners:
        cv2.rectangle(lines, corner[:2], corner[2:], 1, _thickness(drawn) + 1)
    rows, columns = np.nonzero(lines)
    drawn[rows, columns] = np.where(((rows + columns) // DASH_PX % 2 == 0)[:, None], colour, BLACK)


def _corners(image: Image, boxes_xyxy_px: NDArray[np.floating]) -> list[Corner]:
    far = 10 * max(image.shape)  # a box may extend beyond the picture, and OpenCV's integers overflow
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in np.rint(np.clip(boxes_xyxy_px, -far, far)).astype(int).tolist()]


def _thickness(image: Image) -> int:
    return max(1, round(_longer_side(image) / 400))


def _letters(image: Image) -> float:
    return 0.4 * max(1.0, _longer_side(image) / 640)


def _longer_side(image: Image) -> int:
    return max(int(image.shape[0]), int(image.shape[1]))


def _plates(image: Image, text: str, corner: Corner) -> list[Plate]:
    """Places for a name: above the box (inside it at the top of the picture), or below it."""
    (width, height), _ = cv2.getTextSize(text, FONT, _letters(image), _thickness(image))
    width, height = width + 2, height + 4
    left = max(0, min(corner[0], image.shape[1] - 1 - width))
    tops = max(corner[1] - height, 0), min(corner[3], image.shape[0] - 1 - height)
    return [Plate(left, top, left + width, top + height) for top in tops]


def _overlap(a: Plate, b: Plate) -> bool:
    return a.x1 < b.x2 and b.x1 < a.x2 and a.y1 < b.y2 and b.y1 < a.y2


def _write(image: Image, text: str, plate: Plate, colour: Colour) -> None:
    cv2.rectangle(image, (plate.x1, plate.y1), (plate.x2, plate.y2), colour, cv2.FILLED)
    ink = BLACK if np.dot(colour, LUMINANCE) > BRIGHT else WHITE
    at = (plate.x1 + 1, plate.y2 - 3)
    cv2.putText(image, text, at, FONT, _letters(image), ink, _thickness(image), cv2.LINE_AA)
