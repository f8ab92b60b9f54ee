"""A finished set of shards: what it holds, as flat arrays, and where. docs/data.md has the format in full.

Nothing in the files is trusted before it is checked, once on each machine.
"""

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.files import length, naming, sha256
from data.shards.format.columns import map_columns, release_pages
from data.shards.format.header import MADE_ELSEWHERE, MAX_BYTES, Shard, parse_header
from data.shards.format.values import check_values
from data.shards.verified import identity, verified_once
from data.wording import printable

BLOCK = 1 << 16  # samples that are counted together
ALL = slice(None)


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """A finished set of shards. N samples (in shard order), M objects.

    Sent to another process, it maps the same files there.
    """

    folder: Path
    source: str
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    dropped: dict[str, int]  #: reason -> number of annotations or images that were left out
    shards: tuple[Shard, ...]
    arrays: dict[str, NDArray[Any]]  #: the columns of index.npz, see docs/data.md; mapped read-only
    digest: str  #: of index.json: names the exact bytes of the whole set
    arrays_sha256: str  #: of index.npz
    mapped: list[int]  #: identity of index.npz when it was mapped, see verified.py

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
        """The objects of a sample in `boxes_xyxy_px`, `areas_px`, `labels`, `difficult`, `crowd`."""
        starts = self.arrays["object_starts"]
        return slice(int(starts[sample]), int(starts[sample + 1]))

    def trained(self, objects: slice = ALL) -> NDArray[np.bool_]:
        """[M] whether an object is trained on: neither difficult nor crowd."""
        marked: NDArray[np.bool_] = self.arrays["difficult"][objects] | self.arrays["crowd"][objects]
        return ~marked

    def trained_per_image(self) -> NDArray[np.int32]:
        """[N] objects that are trained on."""
        starts, counts = self.arrays["object_starts"], np.empty(self.num_samples, np.int32)
        for first in range(0, self.num_samples, BLOCK):
            bounds = starts[first : first + BLOCK + 1]
            trained = self.trained(slice(int(bounds[0]), int(bounds[-1])))
            counts[first : first + BLOCK] = np.diff(np.concatenate([[0], np.cumsum(trained)])[bounds - bounds[0]])
        release_pages(starts)
        return counts

    def require_unchanged(self) -> None:
        """ValueError if another program has written to index.npz, which changes the arrays. Takes one system call."""
        path = self.folder / "index.npz"
        with suppress(OSError):  # gone, but the mapped file still exists
            found = identity(path)
            if found == self.mapped or found[:2] != self.mapped[:2]:  # of another file, put in its place
                return
            _verify_bytes(
                path,
                self.arrays_sha256,
                "was written to while in use; put the set that index.json describes back (best as a new file, not into "
                "the old one) and start again",
            )

    @classmethod
    def load(cls, folder: Path, *, shards_there: bool = True) -> "ShardIndex":
        """Opens the index; checks that every shard is there in full length (its bytes: verify.py).

        shards_there: False while shards are still being downloaded into the folder.
        """
        text = _text(folder)
        digest = hashlib.sha256(text).hexdigest()
        verified_once(folder / "index.json", digest, lambda: parse_header(text, folder / "index.json"))
        header = json.loads(text)
        _verify(folder / "index.npz", header, digest)
        index = _opened(folder, header, digest)
        if shards_there:
            _require_shards(folder, index.shards)
        return index

    def __reduce__(self) -> tuple[Callable[..., "ShardIndex"], tuple[Path, str]]:
        return _opened_again, (self.folder, self.digest)


def _text(folder: Path) -> bytes:
    try:
        if length(folder / "index.json") is None:  # a pipe, for example, which might never answer
            raise FileNotFoundError
        with naming(folder / "index.json"), (folder / "index.json").open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ValueError(
            f"no shards at {folder}: expected {folder / 'index.json'}, which a finished run of "
            "`python -m data.shards voc ROOT --split ... OUT` leaves there"
        ) from None


def _require_shards(folder: Path, shards: tuple[Shard, ...]) -> None:
    """ValueError unless each is there in full length. One system call each: a large set has tens of thousands."""
    for shard in shards:
        found = length(folder / shard.name)
        if found != shard.bytes:
            raise ValueError(
                f"{folder / shard.name}: the index says {shard.bytes} bytes, "
                f"{'the file is missing' if found is None else f'found {found}'}; "
                "copy the shard again or make the shards again"
            )


def _verify(path: Path, header: dict[str, Any], digest: str) -> None:
    """Checks the bytes and values of index.npz."""
    wrong = (
        "is missing or does not match index.json beside it; copy both again, or make the shards again "
        f"({MADE_ELSEWHERE})"
    )
    if not path.is_file():
        raise ValueError(f"{path} {wrong}")
    _verify_bytes(path, header["arrays_sha256"], wrong)
    verified_once(path, digest, lambda: check_values(path, map_columns(path, header), header))


def _verify_bytes(path: Path, digest: str, wrong: str) -> None:
    def verify() -> None:
        if sha256(path) != digest:
            raise ValueError(f"{path} {wrong}")

    verified_once(path, digest, verify)


def _opened(folder: Path, header: dict[str, Any], digest: str) -> ShardIndex:
    return ShardIndex(
        folder=folder,
        source=printable(header["source"]),
        classes=tuple(header["classes"]),
        category_ids=tuple(header["category_ids"]),
        dropped=header["dropped"],
        shards=tuple(Shard(**shard) for shard in header["shards"]),
        arrays=map_columns(folder / "index.npz", header),
        digest=digest,
        arrays_sha256=header["arrays_sha256"],
        mapped=identity(folder / "index.npz"),
    )


@lru_cache(maxsize=4)
def _opened_again(folder: Path, digest: str) -> ShardIndex:
    """Opens an index that another process has verified."""
    text = _text(folder)
    if hashlib.sha256(text).hexdigest() != digest:
        raise ValueError(f"{folder / 'index.json'} was replaced while in use; start again with the new set")
    return _opened(folder, json.loads(text), digest)
