"""index.npz: a set of shards as flat arrays. docs/data.md has every column. Nothing in it is believed."""

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.shards.sidecar import MAX_IMAGE_ID, MAX_SIDE_PX

COLUMNS = {  # each with its shape and its type: N samples, M objects
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
SHRUNK = {"source_widths": ("N", "i4"), "source_heights": ("N", "i4")}  # only where images were shrunk
MAX_TEXT = 4 * MAX_IMAGE_ID  # bytes of a key or an id
MAX_HEADER = 1024  # bytes in a member before its elements

Columns = dict[str, NDArray[Any]]


def read_columns(path: Path, header: dict[str, Any]) -> Columns:
    """They may come from another program: nothing in them leads out of a shard, of the objects or of the classes."""
    sizes, count = [shard["samples"] for shard in header["shards"]], header["objects"]
    shapes = {"N": (sum(sizes),), "N+1": (sum(sizes) + 1,), "M": (count,), "M,4": (count, 4)}
    try:
        with zipfile.ZipFile(path) as archive:
            there = COLUMNS | {name: SHRUNK[name] for name in SHRUNK if f"{name}.npy" in archive.namelist()}
            _refuse_bombs(archive, there, shapes)
        with np.load(path, allow_pickle=False) as stored:
            columns = {name: stored[name] for name in there}
    except Exception as error:  # of a damaged archive zipfile and numpy raise a dozen kinds
        raise ValueError(
            f"{path}: expected arrays as in docs/data.md, found: {error!s:.200}; make the shards again"
        ) from None
    for name, (shape, kind) in there.items():
        if columns[name].shape != shapes[shape] or not re.fullmatch(rf"[<|]{kind}\d*", columns[name].dtype.str):
            raise ValueError(f"{path}: column {name} is not as in docs/data.md; make the shards again")
    _check_values(path, columns, header, sizes)
    return columns


def _refuse_bombs(
    archive: zipfile.ZipFile, there: dict[str, tuple[str, str]], shapes: dict[str, tuple[int, ...]]
) -> None:
    """Before a byte is read: a few bytes may claim to be gigabytes."""
    for name, (shape, kind) in there.items():
        member = archive.getinfo(f"{name}.npy")
        most = int(np.prod(shapes[shape])) * (MAX_TEXT if kind == "S" else int(kind[1:])) + MAX_HEADER
        if member.compress_type != zipfile.ZIP_STORED or member.file_size > most:
            raise ValueError(f"{member.filename} is compressed or too large: {member.file_size:,} bytes")


def _check_values(path: Path, columns: Columns, header: dict[str, Any], sizes: list[int]) -> None:
    starts, count = columns["object_starts"], header["objects"]
    if starts[0] != 0 or starts[-1] != count or (np.diff(starts) < 0).any():
        raise ValueError(f"{path}: column object_starts is not as in docs/data.md; make the shards again")
    room = np.repeat([shard["bytes"] for shard in header["shards"]], sizes) - columns["image_offsets"]
    boxes, sides = columns["boxes_xyxy_px"], np.stack([columns["widths"], columns["heights"]], axis=1)
    owners = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    with np.errstate(invalid="ignore"):  # comparisons with nan, which are false
        inside = (boxes >= 0).all(1) & (boxes <= np.tile(sides, 2)[owners]).all(1)
        right = {
            "keys": _are(columns["keys"], r"[!-~]{1,200}"),
            "image_ids": _are(columns["image_ids"], rf".{{1,{MAX_IMAGE_ID}}}"),
            "shards": columns["shards"] == np.repeat(np.arange(len(sizes)), sizes),
            "image_offsets": columns["image_offsets"] >= 0,
            "image_bytes": (columns["image_bytes"] >= 0) & (columns["image_bytes"] <= room),
            "boxes_xyxy_px": inside & (boxes[:, 2:] > boxes[:, :2]).all(1),
            "areas_px": (columns["areas_px"] >= 0) & np.isfinite(columns["areas_px"]),
            "labels": (columns["labels"] >= 0) & (columns["labels"] < len(header["classes"])),
        }
        for name in ("widths", "heights", *(name for name in SHRUNK if name in columns)):
            right[name] = (columns[name] >= 1) & (columns[name] <= MAX_SIDE_PX)
    for name in sorted(right, key=lambda name: name in ("boxes_xyxy_px",)):  # a box is wrong where a side is
        wrong = np.flatnonzero(~right[name])
        if len(wrong):
            row = int(wrong[0])
            sample = row if COLUMNS.get(name, ("N", ""))[0] == "N" else int(owners[row])
            found = str(columns[name][row].tolist())[:100]
            raise ValueError(
                f"{path}: column {name} is not as in docs/data.md: sample {sample} has {found}; make the shards again"
            )


def _are(texts: NDArray[np.bytes_], pattern: str) -> NDArray[np.bool_]:
    """Which are printable UTF-8 of this kind."""
    kind = re.compile(pattern)
    words = (text.decode(errors="surrogateescape") for text in texts.tolist())
    return np.array([bool(kind.fullmatch(word)) and word.isprintable() for word in words], np.bool_)
