"""index.npz: a set of shards as flat arrays. docs/data.md has every column.

Members of the archive are not compressed, so that arrays are views of the mapped file: processes of a machine share its
pages, and none holds a copy.
"""

import mmap
import re
import struct
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from data.shards.format.sidecar import MAX_IMAGE_ID

COLUMNS = {  # shape and type of each: N samples, M objects
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
SHRUNK = {"source_widths": ("N", "i4"), "source_heights": ("N", "i4")}  # only if images were shrunk
MAX_TEXT = 4 * MAX_IMAGE_ID  # bytes of a key or an id
MAX_HEADER = 1024  # bytes before the elements of a member
LOCAL_HEADER = struct.Struct("<4s22xHH")  # of a ZIP member: signature, lengths of its name and extra fields

Columns = dict[str, NDArray[Any]]


def map_columns(path: Path, header: dict[str, Any]) -> Columns:
    """Read-only views of the file, with shapes and types checked, but not values."""
    sizes, count = [shard["samples"] for shard in header["shards"]], header["objects"]
    shapes = {"N": (sum(sizes),), "N+1": (sum(sizes) + 1,), "M": (count,), "M,4": (count, 4)}
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            there = COLUMNS | {name: SHRUNK[name] for name in SHRUNK if f"{name}.npy" in archive.namelist()}
            _refuse_bombs(archive, there, shapes)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            columns = {name: _view(file, mapped, archive.getinfo(f"{name}.npy")) for name in there}
    except Exception as error:  # for a damaged archive zipfile and numpy raise a dozen kinds
        raise ValueError(
            f"{path}: expected arrays as in docs/data.md, found: {error!s:.200}; make the shards again"
        ) from None
    for name, (shape, kind) in there.items():
        if columns[name].shape != shapes[shape] or not re.fullmatch(rf"[<|]{kind}\d*", columns[name].dtype.str):
            raise ValueError(f"{path}: column {name} is not as in docs/data.md; make the shards again")
    return columns


def release_pages(column: NDArray[Any]) -> None:
    """Return the pages of a mapped column's file to the page cache, after a pass over all of it."""
    base: Any = column
    while isinstance(base, np.ndarray):
        base = base.base
    mapped = base.obj if isinstance(base, memoryview) else base
    if isinstance(mapped, mmap.mmap):
        mapped.madvise(mmap.MADV_DONTNEED)


def _view(file: IO[bytes], mapped: mmap.mmap, member: zipfile.ZipInfo) -> NDArray[Any]:
    file.seek(member.header_offset)
    signature, name_length, extra_length = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    if signature != b"PK\3\4":
        raise ValueError(f"no member at byte {member.header_offset}")
    begin = member.header_offset + LOCAL_HEADER.size + name_length + extra_length
    file.seek(begin)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, by_columns, kind = read_header[np.lib.format.read_magic(file)](file, max_header_size=MAX_HEADER)
    count = int(np.prod(shape, dtype=object))
    if kind.hasobject or file.tell() + count * kind.itemsize != begin + member.file_size:
        raise ValueError(f"{member.filename} is not an array of {member.file_size:,} bytes")
    flat = np.frombuffer(mapped, kind, count, file.tell()) if count * kind.itemsize else np.empty(count, kind)
    return flat.reshape(shape, order="F" if by_columns else "C")


def _refuse_bombs(
    archive: zipfile.ZipFile, there: dict[str, tuple[str, str]], shapes: dict[str, tuple[int, ...]]
) -> None:
    """Checks sizes before reading: a few bytes may claim to be gigabytes."""
    for name, (shape, kind) in there.items():
        member = archive.getinfo(f"{name}.npy")
        most = int(np.prod(shapes[shape])) * (MAX_TEXT if kind == "S" else int(kind[1:])) + MAX_HEADER
        if member.compress_type != zipfile.ZIP_STORED or member.file_size > most:
            raise ValueError(f"{member.filename} is compressed or too large: {member.file_size:,} bytes")
