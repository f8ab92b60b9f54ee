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
    """[S, S, 3] network input -> a larger picture with a legend below. ignored: [M], for the image's truths."""
    side = len(image)
    objects = index.objects(sample)
    labels = index.arrays["labels"][objects]
    boxes_xyxy = place_boxes(index.arrays["boxes_xyxy_px"][objects], placement, side)
    zoom = -(-LEAST_SIDE_PX // side)
    image, edge = image.repeat(zoom, 0).repeat(zoom, 1), side * zoom
    shown = found.scores > threshold
    drawn = draw_dashed(image, boxes_xyxy * edge, labels, ignored, index.classes)
    drawn = draw_boxes(drawn, found.boxes_xyxy[shown] * edge, found.labels[shown], found.scores[shown], index.classes)
    below = legend(edge, "truth", f"found, score > {threshold:g}", index.image_id(sample))
    return np.concatenate([drawn, below])
