"""Shards as they lie on disk: tars of KEY.jpg + KEY.json, index.npz, index.json. docs/data.md has the format in full.

`ShardIndex` says what a finished set holds, `ShardReader` reads an image by its number; `scan_shard` gets the rows of
the index from a tar. Nothing in these files is believed before it was checked.
"""

import hashlib
import json
import os
import re
import reprlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.shards.sidecar import parse_note
from data.shards.tar import entries

FORMAT = "yolov2-shards"
VERSION = 2
MAX_OPEN = 128  # shards: a process may have 1,024 open files on most systems, 256 on macOS, and a set has thousands
FIELDS = {"source": str, "classes": list, "category_ids": list, "images": int, "objects": int, "dropped": dict}
FIELDS |= {"arrays_sha256": str, "shards": list}  # of index.json, each with its type
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
MADE_ELSEWHERE = "tars that another program made: python -m data.shards index FOLDER"


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """A finished set of shards. N samples (in shard order), M objects."""

    folder: Path
    source: str
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    dropped: dict[str, int]  #: reason -> number of annotations or images that were left out
    shards: tuple["Shard", ...]
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

    def shard_of(self, sample: int) -> "Shard":
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


class Shard(NamedTuple):
    """One tar of a set, as index.json lists it."""

    name: str
    bytes: int
    sha256: str
    samples: int


class ShardReader:
    """Image bytes by sample number. Keeps shards open that it has read; a copy in another process opens its own."""

    def __init__(self, index: ShardIndex) -> None:
        self.index = index
        self._files: dict[int, int] = {}

    def image(self, sample: int) -> bytes:
        arrays = self.index.arrays
        shard, expected = int(arrays["shards"][sample]), int(arrays["image_bytes"][sample])
        data = os.pread(self._file(shard), expected, int(arrays["image_offsets"][sample]))
        if len(data) != expected:
            raise ValueError(f"{self.index.shards[shard].name} ends after {len(data)} of {expected} bytes of the image")
        return data

    def _file(self, shard: int) -> int:
        if shard not in self._files:
            if len(self._files) == MAX_OPEN:
                os.close(self._files.pop(next(iter(self._files))))  # the first: windows of shards come and go
            self._files[shard] = os.open(self.index.folder / self.index.shards[shard].name, os.O_RDONLY)
        return self._files[shard]

    def close(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files = {}

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"index": self.index, "_files": {}}


# -------------------------------------------------------------------------------------------------------- index.json


def seal(header: dict[str, Any]) -> bytes:
    """The text of index.json: the header, and a digest of it, so that a changed byte is noticed."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()
    return (json.dumps(header | {"header_sha256": digest}, indent=1) + "\n").encode()


def parse_header(text: bytes, path: Path) -> dict[str, Any]:
    """The header again, if these are the very bytes that `seal` made."""
    again = f"make the shards again ({MADE_ELSEWHERE})"
    try:
        header = json.loads(text)
        found = f"{header['format']} version {header['version']}"
        header.pop("header_sha256", None)
        sealed = seal(header)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError(f"{path} is not an index of shards; {again}") from None
    if found != f"{FORMAT} version {VERSION}":
        raise ValueError(f"{path} is of {found[:80]}, this program reads {FORMAT} version {VERSION}; {again}")
    if sealed != text:
        raise ValueError(f"{path} is not what was written (its own digest differs); copy it again, or {again}")
    assert isinstance(header, dict)
    for name, kind in FIELDS.items():
        if type(header.get(name)) is not kind:
            raise ValueError(
                f"{path}: expected {name} as in docs/data.md, found {reprlib.repr(header.get(name))}; {again}"
            )
    for shard in header["shards"]:
        kinds = {name: type(value) for name, value in shard.items()} if isinstance(shard, dict) else None
        if kinds != Shard.__annotations__ or shard["samples"] < 1:
            raise ValueError(f"{path}: expected shards as in docs/data.md, found {reprlib.repr(shard)}; {again}")
        if not re.fullmatch(r"[^/\0]+\.tar", shard["name"]):  # staging writes files of these names
            raise ValueError(f"{path}: expected names of tars beside it, found {shard['name']!r}; {again}")
    return header


# --------------------------------------------------------------------------------------------------------- index.npz


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


# ------------------------------------------------------------------------------------------------------------ one shard


class Scan(NamedTuple):
    """One shard, read from its bytes."""

    shard: Shard
    columns: dict[str, NDArray[Any]]  # of index.npz, without `shards` and `labels`; `object_counts` for `object_starts`
    names: list[str]  # of classes, one for each object


def scan_shard(path: Path) -> Scan:
    found = list(entries(path))
    with path.open("rb") as file:
        texts = [os.pread(file.fileno(), entry.json_bytes, entry.json_offset) for entry in found]
    notes = [parse_note(text, entry.key, f"{path}: {entry.key}.json") for text, entry in zip(texts, found, strict=True)]
    columns: dict[str, NDArray[Any]] = {
        "keys": np.array([entry.key for entry in found], dtype="S"),
        "image_ids": np.array([note.image_id for note in notes], dtype="S"),
        "image_offsets": np.array([entry.image_offset for entry in found], np.int64),
        "image_bytes": np.array([entry.image_bytes for entry in found], np.int64),
        "widths": np.array([note.width for note in notes], np.int32),
        "heights": np.array([note.height for note in notes], np.int32),
        "object_counts": np.array([len(note.names) for note in notes], np.int64),
        "boxes_xyxy_px": np.concatenate([np.empty((0, 4)), *(note.boxes_xyxy_px for note in notes)]),
        "areas_px": np.concatenate([np.empty(0), *(note.areas_px for note in notes)]),
        "difficult": np.concatenate([np.empty(0, np.bool_), *(note.difficult for note in notes)]),
        "crowd": np.concatenate([np.empty(0, np.bool_), *(note.crowd for note in notes)]),
    }
    shard = Shard(path.name, path.stat().st_size, sha256(path), len(found))
    return Scan(shard, columns, [name for note in notes for name in note.names])


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
