"""Finds the samples in a tar: KEY.jpg (png, webp ...) and KEY.json, side by side. Nothing in it is trusted.

Reads what POSIX, GNU, BSD and Python's tar write. Differs from `tarfile`, which takes an unreadable header for the end
of the tar, so that a damaged one would silently lose its last samples; which reads names of any length, and (before
Python 3.11.14) loops forever on a negative size.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

IMAGE_EXTENSIONS = ("jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff")
BLOCK = 512  # bytes: a header is one block, data is padded to whole blocks
PLAIN, FOLDER, PAX, PAX_OF_ALL, GNU_NAME = (b"0", b"\0"), b"5", b"x", b"g", b"L"  # types of headers
PAX_FIELDS = (b"path", b"size")  # the others, times and owners, do not matter here
MAX_FILLING = 2**20  # bytes of zeros after the end: tar programs pad to 10 KiB, to 1 MiB for tapes
MAX_EXTENSION = 2**16  # bytes of a header that extends the next one; a name takes a few hundred


class Entry(NamedTuple):
    """One sample: byte ranges of its image and its annotation."""

    key: str
    image_offset: int
    image_bytes: int
    json_offset: int
    json_bytes: int


class _File(NamedTuple):
    name: str
    offset: int
    length: int


def entries(path: Path) -> Iterator[Entry]:
    """The samples, in order.

    As in webdataset, neighbours with the same key are one sample, a key ends at the first dot after the last slash, and
    files without a key, like README or .hidden, are skipped.
    """
    key, parts = "", dict[str, _File]()
    for file in _files(path):
        *folders, base = file.name.split("/")
        if file.name.startswith("/") or ".." in folders:
            found = repr(file.name[:200])
            raise ValueError(f"{path}: expected names inside the folder of the tar, found {found}; make it again")
        stem, _, extension = base.partition(".")
        if not stem or not extension:
            continue
        found = "/".join([*(folder for folder in folders if folder not in ("", ".")), stem])
        if found != key:
            yield from _sample(path, key, parts)
            key, parts = found, {}
        if extension.lower() in parts:
            raise ValueError(f"{path}: expected each name once, found {file.name[:200]!r} again; rename one of the two")
        parts[extension.lower()] = file
    yield from _sample(path, key, parts)


def _sample(path: Path, key: str, parts: dict[str, _File]) -> Iterator[Entry]:
    """One sample, or none if the files are neither image nor annotation."""
    if not any(extension.rpartition(".")[2] in (*IMAGE_EXTENSIONS, "json") for extension in parts):
        return
    images = [extension for extension in parts if extension in IMAGE_EXTENSIONS]
    if len(images) != 1 or "json" not in parts:
        found = ", ".join(f"{key}.{extension}" for extension in parts)[:200]
        raise ValueError(
            f"{path}: expected one image (jpg, png, webp ...) and one json side by side for each key, found {found}; "
            "a key ends at its first dot; docs/data.md describes the layout"
        )
    if not re.fullmatch(r"[\x21-\x7e]{1,200}", key):
        found = repr(key[:200])
        raise ValueError(f"{path}: expected keys of up to 200 ASCII letters without spaces, found {found}; rename it")
    image, note = parts[images[0]], parts["json"]
    yield Entry(key, image.offset, image.length, note.offset, note.length)


# ----------------------------------------------------------------------------------------------------------- the tar


def _files(path: Path) -> Iterator[_File]:
    """The plain files. Every expected header must be there, and nothing but zeros after the end."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        place, given = 0, dict[str, str]()  # given: what earlier headers say about the next file
        while (header := file.read(BLOCK)) != bytes(BLOCK):
            kind, start = header[156:157], place + BLOCK
            length = _length(header, given)
            if length is None or start + length > size:
                raise ValueError(
                    f"{path} is truncated or damaged: expected a whole file or the end of the tar at byte {place}; "
                    "copy or make it again"
                )
            if kind in (PAX, PAX_OF_ALL, GNU_NAME):
                given |= _extension(path, kind, file.read(length) if length <= MAX_EXTENSION else b"")
            else:
                name, given = given.get("path") or _name(header), {}
                if kind not in (*PLAIN, FOLDER):
                    raise ValueError(f"{path}: expected plain files, found {name[:200]!r}, a link or a special file")
                if kind != FOLDER and not name.endswith("/"):  # the slash: a folder, as in 1979
                    yield _File(name, start, length)
            place = start + -(-length // BLOCK) * BLOCK
            file.seek(place)
        if file.read(BLOCK) != bytes(BLOCK):
            raise ValueError(f"{path} is truncated: expected two empty blocks at byte {place}; copy it again")
        rest = file.read(MAX_FILLING + 1)
        if any(rest) or len(rest) > MAX_FILLING:  # such as a download that allocated the file and then stopped
            raise ValueError(f"{path} has data after its end at byte {place}: damaged, or several tars; make it again")


def _length(header: bytes, given: dict[str, str]) -> int | None:
    """Bytes of data after this header; None if it is not one."""
    sum_of_all = sum(header) - sum(header[148:156]) + 8 * ord(" ")
    if len(header) < BLOCK or _number(header[148:156]) != sum_of_all:
        return None
    kind = header[156:157]
    if kind == FOLDER:
        return 0
    if "size" in given and kind not in (PAX, PAX_OF_ALL, GNU_NAME):
        return int(given["size"])
    return _number(header[124:136])


def is_header_of(header: bytes, key: str, length: int) -> bool:
    """Whether this is the header of a file of a sample. length: of the file, bytes."""
    stem = key.rpartition("/")[2].encode()
    name = header[:100].rstrip(b"\0").rpartition(b"/")[2]
    is_cut = header[99] != 0  # the whole name is in another header
    is_named = name.partition(b".")[0] == stem or is_cut
    return is_named and _length(header, {}) == length


def _number(field: bytes) -> int | None:
    """A number in octal digits, or in GNU's binary form if large."""
    if field.startswith(b"\x80"):
        return int.from_bytes(field[1:])
    digits = field.partition(b"\0")[0].strip(b" ")
    return int(digits or b"0", 8) if re.fullmatch(rb"[0-7]*", digits) else None


def _name(header: bytes) -> str:
    name, prefix = (_text(header[start:stop]) for start, stop in ((0, 100), (345, 500)))
    return f"{prefix}/{name}" if header[257:263] == b"ustar\0" and prefix else name


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode(errors="replace")


def _extension(path: Path, kind: bytes, data: bytes) -> dict[str, str]:
    """Name and size of the next file, if its extension header gives them."""
    if not data:
        raise ValueError(f"{path}: expected the next file's name in up to {MAX_EXTENSION} bytes; make the tar again")
    if kind == GNU_NAME:
        return {"path": _text(data)}
    given = {}
    while data:
        record = re.match(rb"([1-9][0-9]{0,5}) ([^=]+)=", data)
        length = int(record[1]) if record else 0
        if record is None or length <= record.end() or data[length - 1 : length] != b"\n":
            raise ValueError(f"{path} is damaged: expected records in a pax header, found {data[:20]!r}; copy it again")
        given[record[2]] = data[record.end() : length - 1]
        data = data[length:]
    odd = [name for name in given if name.startswith(b"GNU.sparse") or (kind == PAX_OF_ALL and name in PAX_FIELDS)]
    if odd or not re.fullmatch(rb"[0-9]{1,15}", given.get(b"size", b"0")):
        raise ValueError(f"{path}: expected plain files, found {given!s:.200} in a pax header; make it again")
    return {name.decode(): given[name].decode(errors="replace") for name in PAX_FIELDS if name in given}
