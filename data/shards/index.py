"""A finished set of shards: what it holds, as flat arrays, and where. docs/data.md has the format in full.

Nothing in the files is believed before it was checked.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.files import sha256
from data.shards.columns import read_columns
from data.shards.header import MADE_ELSEWHERE, MAX_BYTES, Shard, parse_header


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

    def source_size_px(self, sample: int) -> tuple[int, int]:
        """Width, height before the set was written with a limit: that of result files."""
        if "source_widths" not in self.arrays:
            return self.size_px(sample)
        return int(self.arrays["source_widths"][sample]), int(self.arrays["source_heights"][sample])

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
            with (folder / "index.json").open("rb") as file:
                text = file.read(MAX_BYTES + 1)
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
            arrays=read_columns(arrays_path, header),
            digest=hashlib.sha256(text).hexdigest(),
        )
        for shard in index.shards if shards_there else ():
            path = folder / shard.name
            found = path.stat().st_size if path.is_file() else None
            if found != shard.bytes:
                raise ValueError(
                    f"{path}: the index says {shard.bytes} bytes, "
                    f"{'the file is missing' if found is None else f'found {found}'}; "
                    "copy the shard again or make the shards again"
                )
        return index
