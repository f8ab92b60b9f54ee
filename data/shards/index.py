"""A finished set of shards: what it holds, as flat arrays, and where. docs/data.md has the format in full.

Nothing in the files is believed before it was checked.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.files import sha256
from data.shards.header import MADE_ELSEWHERE, Shard, parse_header

COLUMNS = {  # of index.npz, each with its shape and its type: N samples, M objects
    "keys": ("N", "S"),
    "image_ids": ("N", "S"),
    "shards": ("N", "i4"),
    "image_offsets": ("N", "i8"),
    "image_bytes": ("N", "i8"),
    "widths": ("N", "i4"),
    "heights": ("N", "i4"),
    "object_starts": ("N+1", "i8"),
    "boxes_xyxy_px": ("M,4", "f8"),
    "areas_px": ("M", "f8"),
    "labels": ("M", "i2"),
    "difficult": ("M", "b1"),
    "crowd": ("M", "b1"),
}


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """A finished set of shards. N samples (in shard order), M objects."""

    folder: Path
    source: str
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    dropped: dict[str, int]  #: reason -> number of annotations or images that were left out
    shards: tuple[Shard, ...]
    arrays: dict[str, NDArray[Any]]  #: the columns of index.npz, see docs/data.md
    digest: str  #: of index.json: names the exact bytes of the whole set

    @cached_property
    def shard_sizes(self) -> NDArray[np.int64]:
        """Samples in each shard."""
        return np.array([shard.samples for shard in self.shards], np.int64)

    @property
    def num_samples(self) -> int:
        return len(self.arrays["keys"])

    def key(self, sample: int) -> str:
        return str(self.arrays["keys"][sample].decode())

    def image_id(self, sample: int) -> str:
        return str(self.arrays["image_ids"][sample].decode())

    def shard_of(self, sample: int) -> Shard:
        return self.shards[int(self.arrays["shards"][sample])]

    def size_px(self, sample: int) -> tuple[int, int]:
        """Width, height."""
        return int(self.arrays["widths"][sample]), int(self.arrays["heights"][sample])

    def objects(self, sample: int) -> slice:
        """Where the objects of a sample stand in `boxes_xyxy_px`, `areas_px`, `labels`, `difficult`, `crowd`."""
        starts = self.arrays["object_starts"]
        return slice(int(starts[sample]), int(starts[sample + 1]))

    @classmethod
    def load(cls, folder: Path, *, shards_there: bool = True) -> "ShardIndex":
        """Reads the index; checks that every shard is there at its full length (its bytes: verify.py).

        shards_there: False while shards are still on their way into the folder.
        """
        try:
            text = (folder / "index.json").read_bytes()
        except FileNotFoundError:
            raise ValueError(
                f"no shards at {folder}: expected {folder / 'index.json'}, which a finished run of "
                "`python -m data.shards voc ROOT --split ... OUT` leaves there"
            ) from None
        header = parse_header(text, folder / "index.json")
        arrays_path = folder / "index.npz"
        if not arrays_path.exists() or sha256(arrays_path) != header["arrays_sha256"]:
            raise ValueError(
                f"{arrays_path} is missing or does not match index.json beside it; copy both again, or make the shards "
                f"again ({MADE_ELSEWHERE})"
            )
        index = cls(
            folder=folder,
            source=header["source"],
            classes=tuple(header["classes"]),
            category_ids=tuple(header["category_ids"]),
            dropped=header["dropped"],
            shards=tuple(Shard(**shard) for shard in header["shards"]),
            arrays=_read_columns(arrays_path, header),
            digest=hashlib.sha256(text).hexdigest(),
        )
        for shard in index.shards if shards_there else ():
            path = folder / shard.name
            found = path.stat().st_size if path.exists() else None
            if found != shard.bytes:
                raise ValueError(
                    f"{path}: the index says {shard.bytes} bytes, "
                    f"{'the file is missing' if found is None else f'found {found}'}; "
                    "copy the shard again or make the shards again"
                )
        return index


def _read_columns(path: Path, header: dict[str, Any]) -> dict[str, NDArray[Any]]:
    """They may come from another program: nothing in them leads out of a shard, of the objects or of the classes."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            columns = {name: stored[name] for name in COLUMNS}
    except Exception as error:  # of a damaged archive zipfile and numpy raise a dozen kinds
        raise ValueError(
            f"{path}: expected arrays as in docs/data.md, found: {error!s:.200}; make the shards again"
        ) from None
    sizes, count = [shard["samples"] for shard in header["shards"]], header["objects"]
    shapes = {"N": (sum(sizes),), "N+1": (sum(sizes) + 1,), "M": (count,), "M,4": (count, 4)}
    wrong = [
        name
        for name, (shape, kind) in COLUMNS.items()
        if columns[name].shape != shapes[shape] or not re.fullmatch(rf"[<|]{kind}\d*", columns[name].dtype.str)
    ]
    if not wrong:
        offsets, starts, labels = columns["image_offsets"], columns["object_starts"], columns["labels"]
        room = np.repeat([shard["bytes"] for shard in header["shards"]], sizes) - offsets
        right = {
            "shards": np.array_equal(columns["shards"], np.repeat(np.arange(len(sizes)), sizes)),
            "image_offsets": (offsets >= 0).all(),
            "image_bytes": ((columns["image_bytes"] >= 0) & (columns["image_bytes"] <= room)).all(),
            "object_starts": starts[0] == 0 and starts[-1] == count and (np.diff(starts) >= 0).all(),
            "labels": ((labels >= 0) & (labels < len(header["classes"]))).all(),
        }
        wrong = [name for name, holds in right.items() if not holds]
    if wrong:
        raise ValueError(f"{path}: column {wrong[0]} is not as in docs/data.md; make the shards again")
    return columns
