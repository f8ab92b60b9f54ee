"""Batches as training and evaluation receive them: images and truths as tensors of constant shape."""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from data.images.augment import AugmentConfig
from data.images.boxes import Floats, cxcywh_from_xyxy
from data.shards.index import ShardIndex


class Batch(NamedTuple):
    """Images and truths of equal shape. T, the number of truth slots, is a constant of the run.

    A free slot has class -1 and zeros elsewhere, so shapes never depend on the number of objects. All but `samples`
    are on the device. `colours` and `layout` say what the device has yet to do (`data.images.on_device`).
    """

    images: torch.Tensor  # [B, S, S, 3] uint8 RGB, S the side of this batch in px; with a layout [P] decoded pixels
    truths: torch.Tensor  # [B, T, 5] float32: cx cy w h as fractions of the canvas, class
    samples: torch.Tensor  # [B] int64 sample numbers in the shard index
    faults: list[str]  # samples that could not be decoded and were replaced, one sentence each
    side: int  # S, px; in evaluation, where canvases need not be square, their width
    colours: torch.Tensor | None = None  # [B, 3] float32: hue shift, saturation and exposure factor
    layout: torch.Tensor | None = None  # [B, 14] int64: where each image lies in `images` and where it goes


def needed_slots(index: ShardIndex, augment: AugmentConfig) -> int:
    """Slots for all objects of any canvas: those of the most crowded images, as many as share one; a multiple of 8."""
    counts = np.sort(index.trained_per_image())[::-1]
    images = (4 if augment.mosaic else 1) + (1 if augment.mixup else 0)
    most = int(np.resize(counts, max(images, len(counts)))[:images].sum())  # in a tiny set an image may meet itself
    return max(8, -(-most // 8) * 8)


def truth_slots(boxes_xyxy: Floats, labels: NDArray[np.integer], num_slots: int) -> NDArray[np.float32]:
    """[N, 4] fractions, [N] -> [num_slots, 5]. Objects beyond `num_slots` are dropped, as in darknet."""
    slots = np.zeros((num_slots, 5), dtype=np.float32)
    slots[:, 4] = -1
    count = min(len(labels), num_slots)
    slots[:count, :4] = cxcywh_from_xyxy(boxes_xyxy[:count])
    slots[:count, 4] = labels[:count]
    return slots
