"""Files as people name them: endings in any case, any letters, any folder depth; and texts of a bounded size."""

import os
import stat
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from data.shards.tar import IMAGE_EXTENSIONS

IMAGE_SUFFIXES = tuple(f".{extension}" for extension in IMAGE_EXTENSIONS)
MAX_TEXT = 2**28  # bytes of an annotation file of one image, or of a list


def nfc(text: str) -> str:
    """One of the ways in which Unicode writes the same letters: file systems and tools differ."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def without_suffix(name: str) -> str:
    """a/b.c.JPG -> a/b.c: without the ending of an image, if it has one."""
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) if suffix.lower() in IMAGE_SUFFIXES else name


def by_name(folder: Path, suffixes: Sequence[str]) -> dict[str, list[str]]:
    """Path below the folder, in NFC and without the ending -> the files of that name, in the order of `suffixes`.

    As text: a Path for each of 100,000 files would take a second.
    """
    found: dict[str, list[str]] = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        below = os.path.relpath(parent, folder)
        prefix = "" if below == "." else nfc(below).replace(os.sep, "/") + "/"
        for name in sorted(names):
            stem, _, extension = name.rpartition(".")
            if stem and f".{extension.lower()}" in suffixes and not name.startswith("."):
                found.setdefault(prefix + nfc(stem), []).append(f"{parent}{os.sep}{name}")
    for paths in found.values():
        if len(paths) > 1:
            paths.sort(key=lambda path: suffixes.index(Path(path).suffix.lower()))
    return found


def require_file(path: Path, most: int = MAX_TEXT) -> Path:
    """A plain file that is not larger than expected."""
    try:
        status = path.stat()
    except OSError:
        status = None
    if status is None or not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{path}: expected a file, found none")
    if status.st_size > most:
        raise ValueError(f"{path}: expected up to {most:,} bytes, found {status.st_size:,}; is it an annotation file?")
    return path


def read_text(path: Path) -> str:
    """UTF-8, with or without a byte order mark."""
    try:
        text = require_file(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, found: {error}; convert the file") from None
    if "\0" in text:
        raise ValueError(f"{path}: expected UTF-8 text, found zero bytes, as in UTF-16; convert the file")
    return text


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines that hold something, without blanks around it, with their numbers from 1."""
    lines = ((number, line.strip()) for number, line in enumerate(read_text(path).splitlines(), start=1))
    return [(number, line) for number, line in lines if line]
