"""Verifies a file once for all processes of a machine, so that not every process reads gigabytes.

A note in the machine's temporary folder says what was verified of a file, identified by its inode, size and times:
writing to a file changes its ctime, which nobody can set back. A file that was just written is verified each time,
since the clock of a file system may be coarse.
"""

import fcntl
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from data.files import private_folder

SETTLED_S = 2.0  # since the last change to a file


def identity(path: Path) -> list[int]:
    """Numbers that differ after each change of a file; the first two name the file, whatever is in it."""
    status = path.stat()
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def verified_once(path: Path, claim: str, verify: Callable[[], object]) -> None:
    """Calls `verify`, which raises if the claim about the file does not hold, unless a process has already done so.

    Simultaneous calls wait for the first one.
    """
    with _note_of(path) as note:
        found = identity(path)
        held = _held(note, found)
        if claim in held:
            return
        settled = time.time() - max(path.stat().st_mtime, path.stat().st_ctime) > SETTLED_S
        verify()
        if note and settled and identity(path) == found:
            note.seek(0)
            note.truncate()
            note.write(json.dumps([found, [*held, claim]]).encode())


@contextmanager
def _note_of(path: Path) -> Iterator[IO[bytes] | None]:
    """The note, locked; None if it cannot be written: then each process verifies for itself."""
    with ExitStack() as files:
        note: IO[bytes] | None = None
        with suppress(OSError, ValueError):
            folder = Path(tempfile.gettempdir()) / f"yolov2-verified-{os.geteuid()}"
            private_folder(folder)
            name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]
            opened = files.enter_context((folder / name).open("a+b"))
            fcntl.flock(opened, fcntl.LOCK_EX)
            note = opened
        yield note


def _held(note: IO[bytes] | None, found: list[int]) -> list[Any]:
    """The note's claims about this very file."""
    if note is None:
        return []
    note.seek(0)
    try:
        of, claims = json.loads(note.read())
    except (ValueError, TypeError):  # empty, or cut short by a full disk
        return []
    return list(claims) if of == found else []
