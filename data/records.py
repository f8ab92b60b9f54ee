"""Annotated images as every annotation format delivers them, and what looks wrong about them."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

NUM_EXAMPLES = 3  # for each kind of finding


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One annotated image, as an annotation format passes it to the sharder."""

    key: str  #: name of the sample inside the shards; no dots (webdataset cuts names at the first one)
    image_id: str  #: the source's own, for result files: VOC "2007_000001", COCO "397133"
    image: Path
    width: int  #: px, from the annotation; the sharder checks it against the image
    height: int
    boxes_xyxy_px: NDArray[np.float64]  #: [N, 4] continuous edges, 0-based: inside 0..width, 0..height
    areas_px: NDArray[np.float64]  #: [N] COCO: of the segmentation, which decides small, medium or large; or w * h
    labels: NDArray[np.int16]  #: [N] index into the set's class names
    difficult: NDArray[np.bool_]  #: [N] kept for evaluation (neither right nor wrong there), never trained on
    crowd: NDArray[np.bool_]  #: [N] kept and never trained on, as difficult


@dataclass(frozen=True, slots=True, eq=False)
class RecordTable(Sequence[Record]):
    """Many records as columns; each record is made on demand. N images, M objects."""

    keys: NDArray[np.bytes_]  #: [N]
    image_ids: NDArray[np.bytes_]  #: [N] UTF-8
    images: NDArray[np.bytes_]  #: [N] paths, in the file system's bytes
    sizes_px: NDArray[np.int32]  #: [N, 2] width, height
    object_starts: NDArray[np.int64]  #: [N + 1]
    boxes_xyxy_px: NDArray[np.float64]  #: [M, 4]
    areas_px: NDArray[np.float64]  #: [M]
    labels: NDArray[np.int16]  #: [M]
    difficult: NDArray[np.bool_]  #: [M]
    crowd: NDArray[np.bool_]  #: [M]

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> list[Record]: ...
    def __getitem__(self, place: int | slice) -> Record | list[Record]:
        rows = range(len(self))[place]
        return self._record(rows) if isinstance(rows, int) else [self._record(row) for row in rows]

    def _record(self, row: int) -> Record:
        width, height = self.sizes_px[row].tolist()
        mine = slice(int(self.object_starts[row]), int(self.object_starts[row + 1]))
        return Record(
            key=self.keys[row].decode(),
            image_id=self.image_ids[row].decode(),
            image=Path(os.fsdecode(self.images[row])),
            width=width,
            height=height,
            boxes_xyxy_px=self.boxes_xyxy_px[mine],
            areas_px=self.areas_px[mine],
            labels=self.labels[mine],
            difficult=self.difficult[mine],
            crowd=self.crowd[mine],
        )


class SomeRecords(Sequence[Record]):
    """The records of some rows; sent to another process, it becomes a list."""

    def __init__(self, records: Sequence[Record], rows: Sequence[int] | NDArray[np.int64]) -> None:
        self._records, self._rows = records, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> Record: ...
    @overload
    def __getitem__(self, place: slice) -> "SomeRecords": ...
    def __getitem__(self, place: int | slice) -> "Record | SomeRecords":
        if isinstance(place, slice):
            return SomeRecords(self._records, self._rows[place])
        return self._records[int(self._rows[place])]

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


@dataclass(frozen=True, slots=True)
class Findings:
    """Findings that were perhaps not intended: a plural noun with the reason -> their number, and the first few."""

    found: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def add(self, what: str, examples: Sequence[object], count: int | None = None) -> None:
        """count: if there are more than the examples."""
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
    """The result of an annotation format: the records of some splits and the meaning of their labels."""

    source: str  #: for display: "voc VOC2007 trainval + VOC2012 trainval"
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]  #: the source's own ids, for result files; VOC has none: 1..C
    records: Sequence[Record]
    dropped: dict[str, int]  #: reason -> number of annotations left out
    findings: Findings = field(default_factory=Findings)
    #: table -> {number: the source's own id} for ids that are not numbers there
    source_ids: dict[str, dict[str, str]] = field(default_factory=dict)
