"""Detections in fractions of the network's input -> px of the original image."""

import numpy as np

from data.images.boxes import clip
from data.images.geometry import Placement, unplace_boxes
from data.shards.index import ShardIndex
from train.detection.head import ImageDetections
from train.evaluation.scores.tables import Detections


def to_pixels(
    found: ImageDetections, sample: int, placement: Placement, index: ShardIndex, size_px: tuple[int, int]
) -> Detections:
    """Detections of one image, in pixels of the original image and clipped to it."""
    width, height = index.size_px(sample)
    boxes = clip(unplace_boxes(found.boxes_xyxy, placement, size_px), width, height)
    return Detections(
        np.full(len(found.labels), sample, np.int64),
        found.labels,
        found.scores.astype(np.float64),
        boxes.astype(np.float64),
    )
