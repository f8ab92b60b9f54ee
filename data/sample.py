"""What one image is on its way through the program: `Record` (annotated, on disk), `Batch` (decoded, on tensors)."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from data.boxes import Floats, cxcywh_from_xyxy


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One annotated image, as an annotation format hands it to the sharder."""

    key: str  #: name of the sample inside the shards; no dots (webdataset cuts names at the first one)
    image_id: str  #: the source's own, for result files: VOC "2007_000001", COCO "397133"
    image: Path
    width: int  #: px, as the annotation says; the sharder checks it against the image
    height: int
    boxes_xyxy_px: NDArray[np.float64]  #: [N, 4] continuous edges, 0-based: inside 0..width, 0..height
    areas_px: NDArray[np.float64]  #: [N] COCO: of the segmentation, which decides small, medium or large; else w * h
    labels: NDArray[np.int16]  #: [N] index into the set's class names
    difficult: NDArray[np.bool_]  #: [N] kept for evaluation (neither right nor wrong there), never trained on
    crowd: NDArray[np.bool_]  #: [N] likewise


@dataclass(frozen=True, slots=True)
class Annotations:
    """What an annotation format reads: the records of some splits and what their labels mean."""

    source: str  #: for people: "voc VOC2007 trainval + VOC2012 trainval"
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]  #: the source's own ids, for result files; VOC has none: 1..C
    records: list[Record]
    dropped: dict[str, int]  #: reason -> number of annotations left out


class Batch(NamedTuple):
    """Images and truths of equal shape. T, the number of truth slots, is a constant of the run.

    A free slot has class -1 and zeros elsewhere: shapes never depend on how many objects there are. All but `samples`
    are on the device. `colours` and `layout` say what is left for the device to do (`data.pixels`).
    """

    images: torch.Tensor  # [B, S, S, 3] uint8 RGB, S the side of this batch in px; with a layout [P] decoded pixels
    truths: torch.Tensor  # [B, T, 5] float32: cx cy w h as fractions of S, class
    samples: torch.Tensor  # [B] int64 sample numbers in the shard index
    faults: list[str]  # samples that could not be decoded and were replaced, one sentence each
    side: int  # S, px
    colours: torch.Tensor | None = None  # [B, 3] float32: hue shift, saturation and exposure factor
    layout: torch.Tensor | None = None  # [B, 12] int64: where each image lies in `images` and where it goes


def truth_slots(boxes_xyxy: Floats, labels: NDArray[np.integer], num_slots: int) -> NDArray[np.float32]:
    """[N, 4] fractions, [N] -> [num_slots, 5]. Of more than `num_slots` objects the first are kept, as in darknet."""
    slots = np.zeros((num_slots, 5), dtype=np.float32)
    slots[:, 4] = -1
    count = min(len(labels), num_slots)
    slots[:count, :4] = cxcywh_from_xyxy(boxes_xyxy[:count])
    slots[:count, 4] = labels[:count]
    return slots
