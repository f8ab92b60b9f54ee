"""Boxes on pictures."""

import colorsys

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def class_colour(label: int) -> tuple[int, int, int]:
    """RGB, well apart for neighbouring classes (steps of the golden ratio round the colour circle)."""
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
    thickness = max(1, round(max(image.shape) / 400))
    far = 10 * max(image.shape)  # a box may reach out of the picture, OpenCV's integers end somewhere
    for number, (x1, y1, x2, y2) in enumerate(np.rint(np.clip(boxes_xyxy_px, -far, far)).astype(int).tolist()):
        if labels is None:
            cv2.rectangle(drawn, (x1, y1), (x2, y2), (255, 255, 255), 1)
            continue
        colour = class_colour(int(labels[number]))
        cv2.rectangle(drawn, (x1, y1), (x2, y2), colour, thickness + 1)
        text = classes[int(labels[number])] + (f" {scores[number]:.2f}" if scores is not None else "")
        size = 0.4 * max(1, max(image.shape) / 640)
        (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thickness)
        top = max(y1, height + 4)
        cv2.rectangle(drawn, (x1, top - height - 4), (x1 + width + 2, top), colour, cv2.FILLED)
        cv2.putText(drawn, text, (x1 + 1, top - 3), cv2.FONT_HERSHEY_SIMPLEX, size, (0, 0, 0), thickness, cv2.LINE_AA)
    return drawn
