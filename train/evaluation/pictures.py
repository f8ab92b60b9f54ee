"""Validation pictures: an image as the network sees it, with truths dashed and detections solid."""

import numpy as np
from numpy.typing import NDArray

from data.images.geometry import Placement, place_boxes
from data.shards.index import ShardIndex
from data.view.drawing import draw_boxes, draw_dashed, legend
from train.detection.head import ImageDetections

LEAST_SIDE_PX = 400  # smaller inputs are enlarged for viewing


def draw_validation(
    image: NDArray[np.uint8],
    index: ShardIndex,
    sample: int,
    placement: Placement,
    ignored: NDArray[np.bool_],
    found: ImageDetections,
    threshold: float,
) -> NDArray[np.uint8]:
    """[H, W, 3] network input -> a larger picture with a legend below. ignored: [M], for the image's truths."""
    height, width = image.shape[:2]
    objects = index.objects(sample)
    labels = index.arrays["labels"][objects]
    boxes_xyxy = place_boxes(index.arrays["boxes_xyxy_px"][objects], placement, (width, height))
    zoom = -(-LEAST_SIDE_PX // width)
    image, size = image.repeat(zoom, 0).repeat(zoom, 1), np.array((width, height) * 2) * zoom
    shown = found.scores > threshold
    drawn = draw_dashed(image, boxes_xyxy * size, labels, ignored, index.classes)
    drawn = draw_boxes(drawn, found.boxes_xyxy[shown] * size, found.labels[shown], found.scores[shown], index.classes)
    below = legend(width * zoom, "truth", f"found, score > {threshold:g}", index.image_id(sample))
    return np.concatenate([drawn, below])
