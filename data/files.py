"""Files that are complete or absent: written under a unique name, synced, then renamed."""

import fcntl
import hashlib
import os
import re
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

POLL_S = 0.2  # between two attempts to lock


def sha256(path: Path) -> str:
    """Digest as 64 hexadecimal digits; reads the whole file."""
    with naming(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A context whose errors of reading, writing or syncing name the file; Python's do not."""
    try:
        yield
    except OSError as error:
        _add_filename(error, path)
        raise


def natural_key(name: str | Path) -> list[tuple[int, str]]:
    """A sort key that puts frame9 before frame10."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", str(name))]


def length(path: Path) -> int | None:
    """Bytes of a file; None if there is none."""
    with suppress(FileNotFoundError):
        status = path.stat()
        return status.st_size if stat.S_ISREG(status.st_mode) else None
    return None


def sync_folder(folder: Path) -> None:
    """Makes renames and deletions in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with naming(folder):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _add_filename(error: BaseException, path: Path) -> None:
    """Adds the file to an error of writing or syncing, which Python reports without one."""
    if isinstance(error, OSError) and error.errno is not None and error.filename is None:
        error.filename = str(path)


def part_name(path: Path) -> Path:
    """A name beside `path` that no other process uses, on this machine or another that shares the disk."""
    return path.with_name(f"{path.name}.{socket.gethostname()}-{os.getpid()}.part")


def private_folder(folder: Path) -> None:
    """Makes a folder that nobody else can write to, or accepts an existing one of this user.

    ValueError: another user made it first, so its content cannot be trusted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for found in (folder.lstat(), folder.stat()):  # of a link, and of its target
        if found.st_uid != os.geteuid():
            raise ValueError(
                f"{folder}: expected a folder of this user ({os.geteuid()}), found one of user {found.st_uid}; "
                "choose another"
            )
    mode = stat.S_IMODE(folder.stat().st_mode)
    if mode & 0o022:
        folder.chmod(mode & ~0o022)


@contextmanager
def replacing(path: Path, *, synced: bool = True) -> Iterator[BinaryIO]:
    """A file to write to that replaces `path`, not the target of a link there, once all of it is on disk.

    An exception leaves `path` unchanged and removes what was written. The folder must exist. synced: False for files
    that may be lost in a power cut.
    """
    part = part_name(path)
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            if synced:
                os.fsync(file.fileno())
        part.replace(path)
    except BaseException as error:
        _add_filename(error, path)
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise
    if synced:
        sync_folder(path.parent)


def write_whole(path: Path, content: bytes | str) -> None:
    """Like `Path.write_bytes`, or `write_text` in UTF-8, but `path` always holds either the old or the new content."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def locked_folder(folder: Path, activity: str, *, wait: bool = False, shared: bool = False) -> Iterator[None]:
    """Holds a lock on a folder, without a lock file; the lock ends with the process at the latest.

    If another process holds it, waits, or raises ValueError with the `activity`: "is writing shards". shared: any
    number of processes may hold it together. Does nothing on a file system without locks.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        while not _lock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            if not wait:
                raise ValueError(f"{folder}: another process {activity} there; wait for it, or choose another folder")
            time.sleep(POLL_S)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # as on NFS, which locks only files open for writing
        return True
    return True
