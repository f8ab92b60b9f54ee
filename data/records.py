"""Annotated images as every annotation format hands them over, and what looks wrong about them."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

NUM_LISTED = 10  # a message about many things shows this many of them
NUM_EXAMPLES = 3  # of each kind of finding


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
class Findings:
    """What may have been meant otherwise: a plural noun with the reason -> their number, and the first of them."""

    found: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def add(self, what: str, examples: Sequence[object], count: int | None = None) -> None:
        """count: where not all of them are among the examples."""
        count = len(examples) if count is None else count
        if count:
            before, shown = self.found.get(what, (0, []))
            self.found[what] = before + count, [*shown, *map(str, examples[:NUM_EXAMPLES])][:NUM_EXAMPLES]

    def merge(self, other: "Findings") -> None:
        for what, (count, examples) in other.found.items():
            self.add(what, examples, count)

    def lines(self) -> list[str]:
        return [
            f"{what}: {count:,} ({', '.join(examples)}{', ...' if count > len(examples) else ''})"
            for what, (count, examples) in self.found.items()
        ]


@dataclass(frozen=True, slots=True)
class Annotations:
    """What an annotation format reads: the records of some splits and what their labels mean."""

    source: str  #: for people: "voc VOC2007 trainval + VOC2012 trainval"
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]  #: the source's own ids, for result files; VOC has none: 1..C
    records: list[Record]
    dropped: dict[str, int]  #: reason -> number of annotations left out
    findings: Findings = field(default_factory=Findings)
    #: table -> {number: the source's own id} of those that are not numbers there
    source_ids: dict[str, dict[str, str]] = field(default_factory=dict)


def listed(things: Sequence[object]) -> str:
    """The first of them, each on a line of its own."""
    more = ["..."] if len(things) > NUM_LISTED else []
    return "".join(f"\n  {thing}" for thing in [*things[:NUM_LISTED], *more])
