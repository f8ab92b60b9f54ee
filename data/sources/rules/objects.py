"""The objects of a source as columns: 57 bytes each, and never much more, however many there are."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 15  # rows that are turned into columns together
DIFFICULT, CROWD, FLAT = 1, 2, 4

ROW = np.dtype(
    [
        ("picture", "i4"),  # its row
        ("xyxy_px", "f8", 4),  # continuous edges from 0, not clipped
        ("area_px", "f8"),  # nan: the box's
        ("label", "i4"),
        ("difficult", "?"),
        ("crowd", "?"),
        ("flat", "?"),  # has no area, whatever its edges say
        ("number", "i8"),  # in its file, for messages
    ]
)


@dataclass(slots=True, eq=False)
class Objects:
    """M objects with the fields of `ROW`. Edges are four columns, so that reordering never copies a large one."""

    picture: NDArray[np.int32]  #: [M]
    left: NDArray[np.float64]
    top: NDArray[np.float64]
    right: NDArray[np.float64]
    bottom: NDArray[np.float64]
    area_px: NDArray[np.float64]
    label: NDArray[np.int32]
    marks: NDArray[np.uint8]  #: sum of DIFFICULT, CROWD and FLAT
    number: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.picture)

    @classmethod
    def of_rows(cls, rows: Iterable[tuple[object, ...]]) -> "Objects":
        """Objects from tuples in the order of `ROW`."""
        return cls.of_blocks(blocks_of(rows))

    @classmethod
    def of_blocks(cls, blocks: Iterable[NDArray[Any]]) -> "Objects":
        """Objects from arrays of `ROW`."""
        objects = cls._of_block(np.empty(0, ROW))
        for block in blocks:
            objects.extend(cls._of_block(block))
        return objects

    @classmethod
    def _of_block(cls, block: NDArray[Any]) -> "Objects":
        marks = block["difficult"] * DIFFICULT + block["crowd"] * CROWD + block["flat"] * FLAT
        edges = {name: block["xyxy_px"][:, n].copy() for n, name in enumerate(("left", "top", "right", "bottom"))}
        columns = {name: block[name].copy() for name in ("picture", "area_px", "label", "number")}
        return cls(marks=marks.astype(np.uint8), **edges, **columns)

    def extend(self, other: "Objects") -> None:
        """Moves all objects of another here, column by column. No view of a column may exist."""
        for field in fields(self):
            more = getattr(other, field.name)
            extend(getattr(self, field.name), more)
            setattr(other, field.name, np.empty(0, more.dtype))

    def take(self, rows: NDArray[np.integer] | NDArray[np.bool_]) -> None:
        """Keeps these rows, in this order."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[rows])

    def xyxy_px(self, rows: Any) -> NDArray[np.float64]:
        """[..., 4] edges of some rows."""
        return np.stack([self.left[rows], self.top[rows], self.right[rows], self.bottom[rows]], axis=-1)


def extend(column: NDArray[Any], more: NDArray[Any]) -> None:
    """Appends values in place. realloc moves the pages of a large column, so there is never a second copy."""
    count = len(column)
    column.resize(count + len(more), refcheck=False)
    column[count:] = more


def blocks_of(rows: Iterable[tuple[object, ...]]) -> Iterator[NDArray[Any]]:
    rows = iter(rows)
    while block := list(islice(rows, BLOCK)):
        yield np.array(block, ROW)


def slices(count: int, size: int = BLOCK) -> Sequence[slice]:
    return [slice(first, min(first + size, count)) for first in range(0, count, size)]
