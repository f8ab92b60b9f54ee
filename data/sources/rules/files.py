"""Files as users name them: endings in any case, any characters, any folder depth; and texts of bounded size."""

import os
import posixpath
import stat
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from data.shards.format.tar import IMAGE_EXTENSIONS

IMAGE_SUFFIXES = tuple(f".{extension}" for extension in IMAGE_EXTENSIONS)
MAX_TEXT = 2**28  # bytes of one image's annotation file, or of a list


def nfc(text: str) -> str:
    """The NFC form of a text: file systems and tools differ in how Unicode writes the same letters."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def without_suffix(name: str) -> str:
    """a/b.c.JPG -> a/b.c: removes the ending of an image, if there is one."""
    stem, suffix = posixpath.splitext(name)
    return stem if suffix.lower() in IMAGE_SUFFIXES else name


def by_name(folder: Path, suffixes: Sequence[str]) -> dict[str, list[str]]:
    """Path below the folder, in NFC and without ending -> the files of that name, in the order of `suffixes`.

    As text: making a Path for each of 100,000 files would take a second.
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


def exists(path: str | Path) -> bool:
    """Like Path.exists, which raises OSError for a name that is too long for the file system."""
    return os.path.exists(path)  # noqa: PTH110


def is_file(path: str | Path) -> bool:
    """Like Path.is_file, for names of any length."""
    return os.path.isfile(path)  # noqa: PTH113


def require_file(path: Path, most: int = MAX_TEXT) -> Path:
    """The path, if it is a plain file of at most this size."""
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
    """Text in UTF-8, with or without a byte order mark."""
    return text_of(require_file(path).read_bytes(), path)


def text_of(data: bytes, path: Path) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, found: {error}; convert the file") from None
    if "\0" in text:
        raise ValueError(f"{path}: expected UTF-8 text, found zero bytes, as in UTF-16; convert the file")
    return text


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines that are not empty, stripped, with their numbers from 1."""
    lines = ((number, line.strip()) for number, line in enumerate(read_text(path).splitlines(), start=1))
    return [(number, line) for number, line in lines if line]
