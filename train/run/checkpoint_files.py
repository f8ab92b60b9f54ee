"""The files of a checkpoint folder: named by the digest of their bytes, written atomically, listed by position.

    000012800-3f9ac1d2b4e5f607.pt     images seen, first 16 digits of the file's SHA-256
    best-000012800-3f9a...pt          the one with the highest mAP; a full state like the others

Names alone decide which is newer, never file times.
"""

import hashlib
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch

from data.files import part_name, sha256, sync_folder

DIGITS = 16
NAME = re.compile(rf"(?P<best>best-)?(?P<images>[0-9]{{9,}})-(?P<digest>[0-9a-f]{{{DIGITS}}})\.pt")


class Named(NamedTuple):
    """The contents of a file's name."""

    images: int
    best: bool
    path: Path


class HashingFile:
    """Hashes what is written: hashing bytes read back would certify a disk's errors."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash = file, hashlib.sha256()

    def write(self, data: Any) -> int:
        self._hash.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()[:DIGITS]


def write(folder: Path, state: Mapping[str, Any], images: int, *, best: bool, keep: int) -> None:
    """Writes the state to a new file; then removes all but the newest `keep` and the best."""
    folder.mkdir(parents=True, exist_ok=True)
    part = part_name(folder / f"{images:09d}")
    try:
        with part.open("wb") as file:
            hashing = HashingFile(file)
            torch.save(state, hashing)  # type: ignore[arg-type]  # it writes and flushes, nothing else
            file.flush()
            os.fsync(file.fileno())
        path = folder / f"{images:09d}-{hashing.digest}.pt"
        if best:
            _mark_best(part, folder / f"best-{path.name}")
        part.replace(path)
    except BaseException:
        _remove([part])
        raise
    sync_folder(folder)
    numbered = [each for each in listed(folder) if not each.best]
    _remove(each.path for each in numbered if each.images == images and each.path != path)  # from an earlier save
    past = [each.path for each in numbered if each.images < images or each.path == path]  # later ones are damaged
    _remove(past[keep:])


def _mark_best(written: Path, marked: Path) -> None:
    link = part_name(marked)
    _remove([link])
    try:
        os.link(written, link)
    except OSError:  # a file system without hard links
        shutil.copyfile(written, link)
    link.replace(marked)
    _remove(each.path for each in listed(marked.parent) if each.best and each.path != marked)


def position_of(path: Path) -> int:
    """The images seen, by the name of a checkpoint."""
    return int(path.name.removeprefix("best-").split("-")[0])


def has_checkpoints(folder: Path) -> bool:
    """Whether there are any, whole or damaged: a run restores one, or says why it cannot."""
    return any(folder.glob("*.pt"))


def listed(folder: Path) -> list[Named]:
    """Everything named like a checkpoint, intact or not, newest first; the best one after others of its position."""
    matches = [(NAME.fullmatch(path.name), path) for path in sorted(folder.glob("*.pt"), reverse=True)]
    found = [Named(int(match["images"]), bool(match["best"]), path) for match, path in matches if match]
    return sorted(found, key=lambda each: (-each.images, each.best))


def intact(folder: Path) -> Iterator[Path]:
    """Checkpoints whose bytes match their names, newest first; reports those that it skips."""
    for path in sorted(folder.glob("*.pt")):
        if not NAME.fullmatch(path.name):
            report_skipped(path, "its name is not that of a checkpoint")
    for named in listed(folder):
        if reason := defect(named.path):
            report_skipped(named.path, reason)
        else:
            yield named.path


def newest(folder: Path) -> Path | None:
    """The newest intact checkpoint, if there is one."""
    return next(intact(folder), None)


def best(folder: Path, usable: Callable[[Path], object] = lambda _: True) -> Path | None:
    """The best one if the run has been evaluated, otherwise the newest.

    usable: raises ValueError or OSError for a file that lacks what is needed: it is reported and passed over.
    """
    marked = [each.path for each in listed(folder) if each.best and not defect(each.path)]
    for path in chain(marked, (each for each in intact(folder) if each not in marked)):
        try:
            usable(path)
        except (ValueError, OSError) as error:
            report_skipped(path, str(error))
        else:
            return path
    return None


def defect(path: Path) -> str | None:
    """The reason why a file named like a checkpoint is not one; None if it is."""
    try:
        if not path.is_file():
            return "it is a folder" if path.is_dir() else "it is a link to nothing" if path.is_symlink() else "no file"
        return None if sha256(path)[:DIGITS] == path.stem[-DIGITS:] else "damaged: its SHA-256 does not match its name"
    except OSError as error:
        return str(error)


def report_skipped(path: Path, reason: str) -> None:
    """Says on stderr why a file is not used."""
    with suppress(OSError, ValueError):
        print(f"checkpoint {path} is skipped, {reason}", file=sys.stderr, flush=True)


def load_tensors(path: Path) -> Any:
    """What `torch.save` wrote. Runs no code from the file. ValueError if it would take more memory than disk."""
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > path.stat().st_size:
            raise ValueError(f"expected tensors as they are in memory, found {size:,} bytes, compressed")
    return torch.load(path, map_location="cpu", weights_only=True)


def read(path: Path) -> dict[str, Any]:
    """The state in a checkpoint, on the host. ValueError for any other file."""
    try:
        state = load_tensors(path)
    except Exception as error:  # torch raises half a dozen unrelated types for files that are not checkpoints
        raise ValueError(f"{path} is not a checkpoint of this program: {error}") from error
    if not isinstance(state, dict) or not isinstance(state.get("network"), dict):
        raise ValueError(f"{path} is not a checkpoint of this program: it does not describe its network")
    return state


def prepare(folder: Path) -> None:
    """Makes the folder, without what killed processes left. OSError if it cannot be written to.

    Only for the one process that may write here.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part_name(folder / "probe").touch()
    _remove(folder.glob("*.part"))


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        with suppress(OSError):  # a folder of such a name; what cannot be removed does no harm
            path.unlink()
