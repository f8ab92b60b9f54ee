"""Annotated images as every annotation format hands them over."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NUM_LISTED = 10  # a message about many things shows this many of them


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


def listed(things: Sequence[object]) -> str:
    """The first of them, each on a line of its own."""
    more = ["..."] if len(things) > NUM_LISTED else []
    return "".join(f"\n  {thing}" for thing in [*things[:NUM_LISTED], *more])
