"""Box frames and the arithmetic between them, in numpy.

Two frames, named in every variable: `xyxy` = left, top, right, bottom edges; `cxcywh` = centre and size. Edges are
continuous: a box that covers all of an image W pixels wide runs from 0 to W, so that its width is x2 - x1 = W.
Units are in the name too: `_px` pixels of the image, nothing = fraction of the image (0..1).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]


def cxcywh_from_xyxy(boxes_xyxy: Floats) -> Floats:
    corner_low, corner_high = boxes_xyxy[..., :2], boxes_xyxy[..., 2:]
    return np.concatenate([(corner_low + corner_high) / 2, corner_high - corner_low], axis=-1)


def xyxy_from_cxcywh(boxes_cxcywh: Floats) -> Floats:
    centre, half = boxes_cxcywh[..., :2], boxes_cxcywh[..., 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


def clip(boxes_xyxy: Floats, width: float, height: float) -> Floats:
    """The part of each box inside (0, 0, width, height); empty (x2 <= x1) for a box outside."""
    limits = np.array([width, height, width, height], dtype=boxes_xyxy.dtype)
    clipped: Floats = np.minimum(np.maximum(boxes_xyxy, 0), limits)
    return clipped


def clip_boxes(
    boxes_xyxy: NDArray[np.float32],
    min_size: float,
    min_visible: float = 0,
    inside: tuple[float, float, float, float] = (0, 0, 1, 1),
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Boxes clipped to a part of the canvas, and which are still large enough.

    min_size: least remaining width and height. min_visible: least remaining share of the area.
    """
    left, top, right, bottom = inside
    low, high = np.array((left, top) * 2, np.float32), np.array((right, bottom) * 2, np.float32)
    clipped: NDArray[np.float32] = np.minimum(np.maximum(boxes_xyxy, low), high)
    size = clipped[:, 2:] - clipped[:, :2]
    kept = (size[:, 0] >= min_size) & (size[:, 1] >= min_size)
    if min_visible:
        kept &= size.prod(1) >= min_visible * (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).prod(1)
    return clipped, kept


def iou(a_xyxy: NDArray[np.float64], b_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    """[..., 4], [..., 4] -> [...] intersection over union, 0 if both boxes are empty. All of a with all of b:
    `iou(a[:, None], b)`."""
    sides = np.minimum(a_xyxy[..., 2:], b_xyxy[..., 2:]) - np.maximum(a_xyxy[..., :2], b_xyxy[..., :2])
    overlap = np.clip(sides, 0, None).prod(-1)
    area_a, area_b = ((boxes[..., 2:] - boxes[..., :2]).prod(-1) for boxes in (a_xyxy, b_xyxy))
    union = area_a + area_b - overlap
    return np.asarray(overlap / np.where(union > 0, union, 1))
