"""Checks the values in the columns of index.npz, which may come from another program and are not trusted.

Nothing in them may point outside a shard, the objects or the classes. They are read block by block, in memory that does
not grow with the set.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.shards.format.columns import COLUMNS, SHRUNK, Columns
from data.shards.format.sidecar import MAX_IMAGE_ID, MAX_SIDE_PX
from data.wording import is_printable

BLOCK = 1 << 14  # samples that are checked together

Right = dict[str, NDArray[np.bool_]]  # which rows of each column are valid


def check_values(path: Path, columns: Columns, header: dict[str, Any]) -> None:
    """ValueError names the first invalid value."""
    starts = columns["object_starts"]
    ends = np.cumsum([shard["samples"] for shard in header["shards"]])
    lengths = np.array([shard["bytes"] for shard in header["shards"]])
    blocks = [slice(first, min(first + BLOCK, len(starts) - 1)) for first in range(0, len(starts) - 1, BLOCK)]
    falling = any((np.diff(starts[block.start : block.stop + 1]) < 0).any() for block in blocks)
    if falling or starts[0] != 0 or starts[-1] != header["objects"]:
        raise ValueError(f"{path}: column object_starts is not as in docs/data.md; make the shards again")
    for samples in blocks:
        objects = slice(int(starts[samples.start]), int(starts[samples.stop]))
        owners = np.repeat(np.arange(samples.start, samples.stop), np.diff(starts[samples.start : samples.stop + 1]))
        right = _of_samples(columns, ends, lengths, samples) | _of_objects(
            columns, len(header["classes"]), objects, owners
        )
        for name in sorted(right, key=lambda name: name == "boxes_xyxy_px"):  # a box is wrong if a side is
            for row in np.flatnonzero(~right[name])[:1].tolist():
                of_samples = (COLUMNS | SHRUNK)[name][0] == "N"
                sample = samples.start + row if of_samples else int(owners[row])
                found = str(columns[name][samples if of_samples else objects][row].tolist())[:100]
                raise ValueError(
                    f"{path}: column {name} is not as in docs/data.md: sample {sample} has {found}; make the shards "
                    "again"
                )


def _of_samples(
    columns: Columns, shard_ends: NDArray[np.int64], shard_bytes: NDArray[np.int64], samples: slice
) -> Right:
    """shard_ends: [S] number of samples up to the end of each shard."""
    expected = np.searchsorted(shard_ends, np.arange(samples.start, samples.stop), side="right")
    room = shard_bytes[expected] - columns["image_offsets"][samples]
    lengths = columns["image_bytes"][samples]
    right = {
        "keys": _are_keys(columns["keys"][samples]),
        "image_ids": _are_ids(columns["image_ids"][samples]),
        "shards": columns["shards"][samples] == expected,
        "image_offsets": columns["image_offsets"][samples] >= 0,
        "image_bytes": (lengths >= 0) & (lengths <= room),
    }
    for name in ("widths", "heights", *(name for name in SHRUNK if name in columns)):
        right[name] = (columns[name][samples] >= 1) & (columns[name][samples] <= MAX_SIDE_PX)
    return right


def _of_objects(columns: Columns, num_classes: int, objects: slice, owners: NDArray[np.int64]) -> Right:
    """owners: [M] the sample of each object."""
    left, top, right, bottom = columns["boxes_xyxy_px"][objects].T
    areas, labels = columns["areas_px"][objects], columns["labels"][objects]
    with np.errstate(invalid="ignore"):  # comparisons with nan are false
        inside = (
            (left >= 0) & (top >= 0) & (right <= columns["widths"][owners]) & (bottom <= columns["heights"][owners])
        )
        return {
            "boxes_xyxy_px": inside & (left < right) & (top < bottom),
            "areas_px": (areas >= 0) & np.isfinite(areas),
            "labels": (labels >= 0) & (labels < num_classes),
        }


def _letters(texts: NDArray[np.bytes_]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """[N, S] bytes, and [N] how many precede the padding zeros."""
    letters = np.ascontiguousarray(texts).view(np.uint8).reshape(len(texts), -1)
    lengths = letters.shape[1] - (letters[:, ::-1] != 0).argmax(1)
    return letters, np.where(letters.any(1), lengths, 0)


def _are_keys(texts: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    letters, lengths = _letters(texts)
    printable = ((letters >= 0x21) & (letters <= 0x7E)).sum(1)
    return np.asarray((printable == lengths) & (lengths >= 1) & (lengths <= 200))


def _are_ids(texts: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    """Whether each is printable UTF-8."""
    letters, lengths = _letters(texts)
    plain = ((letters >= 0x20) & (letters <= 0x7E)).sum(1)
    right = np.asarray((plain == lengths) & (lengths >= 1) & (lengths <= MAX_IMAGE_ID))
    for row in np.flatnonzero(~right).tolist():
        word = texts[row].decode(errors="surrogateescape")
        right[row] = 1 <= len(word) <= MAX_IMAGE_ID and is_printable(word)
    return right
