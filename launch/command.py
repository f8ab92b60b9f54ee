"""Ends every command the same way: with its result, or one `error:` line if the user or the machine is at fault.

    if __name__ == "__main__":
        sys.exit(run(main))

Exit status 1 after an error, 130 after Ctrl-C, SIGTERM or SIGHUP; `--traceback` anywhere on the command line shows
where it came from. Bugs of this program keep their traceback. Passwords and tokens of addresses are left out. Printing
never ends a command: characters that the console cannot show are replaced, and a console that is gone (a closed pipe, a
full disk) is reported once, at the end.
"""

import atexit
import errno
import gc
import io
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from launch.interrupt import INTERRUPTED, NOTICE, interrupted_by_signals, name_cut_files
from launch.redact import redacted

TRACEBACK = "--traceback"
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tab and newline
#: what to do about limits of the user
LIMITS = {
    errno.EMFILE: "raise the limit with ulimit -n, or use fewer processes (data.workers, --workers)",
    errno.ENFILE: "raise the limit with ulimit -n, or use fewer processes (data.workers, --workers)",
    errno.EAGAIN: "raise the limit with ulimit -u, or use fewer processes (data.workers, --workers)",
    errno.EFBIG: "raise the limit with ulimit -f, or use a file system for larger files",
}
#: what to do, besides choosing another place, about a path that the system refuses
ADVICE = {
    errno.EACCES: "fix its permissions",
    errno.EPERM: "fix its permissions",
    errno.EROFS: "make its disk writable",
    errno.ENOENT: "correct the path",
    errno.ELOOP: "correct the links",
    errno.ENAMETOOLONG: "shorten the name",
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EIO: "check the disk",
}
OUT_OF_MEMORY = re.compile(r"out of memory|(can't|cannot) allocate memory|insufficient memory", re.IGNORECASE)


class Stopped(Exception):
    """The user or the scheduler asked to stop before there was anything to save. Not an error."""


def run(main: Callable[[Sequence[str]], object], usage: Callable[[], str] | None = None) -> int:
    """Calls main with the words of the command line; returns the exit status.

    usage: the text of --help, for a main that does not handle it.
    """
    atexit.register(gc.freeze)  # searching the objects of PyTorch for cycles takes half a second at the end
    words = [word for word in sys.argv[1:] if word != TRACEBACK]
    if usage is not None and {"-h", "--help"} & set(words):
        text = usage().strip()
        main = lambda _: print(text)  # noqa: E731
    failures = [_make_unbreakable("stdout"), _make_unbreakable("stderr")]
    name_cut_files()
    with interrupted_by_signals():
        status = _status(main, words, TRACEBACK in sys.argv)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    lost = [failure for each in failures for failure in each if not isinstance(failure, BrokenPipeError)]
    if lost:  # a reader that closes its pipe (`| head`) has seen enough
        _tell(f"not all of the output could be written ({lost[0]}); free some space and run the command again")
    return status or bool(lost)


def _status(main: Callable[[Sequence[str]], object], words: Sequence[str], with_traceback: bool) -> int:
    try:
        main(words)
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return 0
    except KeyboardInterrupt:
        reason, status = NOTICE, INTERRUPTED
    except Exception as error:
        found = reason_of(error)
        if found is None:
            raise
        reason, status = found, 1
        if with_traceback:
            traceback.print_exc()
    else:
        return 0
    _tell(reason)
    return status


def reason_of(error: Exception) -> str | None:
    """The reason to show the user; None if the error is a bug of this program."""
    text = str(error).strip() or type(error).__name__
    is_cv2 = type(error).__module__ == "cv2"  # by name: importing OpenCV takes a second
    lacks_memory = isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    if lacks_memory or ((is_cv2 or isinstance(error, RuntimeError)) and OUT_OF_MEMORY.search(text)):
        return f"out of memory ({text.splitlines()[0]}): use a smaller batch, fewer processes or a larger machine"
    if isinstance(error, OSError) and error.errno in LIMITS:
        return f"{text}: {LIMITS[error.errno]}"
    if isinstance(error, RuntimeError) and text == "can't start new thread":
        return f"{text}: {LIMITS[errno.EAGAIN]}"
    if isinstance(error, RuntimeError) and text.startswith("Symlink loop from"):  # Path.resolve's, up to Python 3.12
        return f"expected a usable file or folder, found a {text[0].lower()}{text[1:]}; {ADVICE[errno.ELOOP]}"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return _refused(error)
    return text if isinstance(error, OSError | ValueError | FloatingPointError | EOFError) else None


def _refused(error: OSError) -> str:
    """A sentence on a path that the system does not read, write or make."""
    path = Path(os.fsdecode(error.filename))
    if isinstance(error, IsADirectoryError):
        path = Path(os.fsdecode(error.filename2)) if error.filename2 else path  # that the file was to replace
        return f"{path}: expected a file, found a folder; choose another place"
    if isinstance(error, FileExistsError | NotADirectoryError):
        for place in (path, *path.parents):
            if place.is_file() or (place.is_symlink() and not place.exists()):
                found = "a file" if place.is_file() else "a link to nothing"
                return f"{place}: expected a folder, found {found}; choose another place"
    advice = [ADVICE[error.errno]] if error.errno in ADVICE else []
    found = f"{error.strerror}: {str(path)!r}"
    return f"expected a usable file or folder, found {found}; {' or '.join([*advice, 'choose another place'])}"


def _tell(reason: str) -> None:
    if sys.stdout is not None:
        sys.stdout.flush()
    # control characters, in the name of a class for example, would move the terminal's cursor
    shown = CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", reason)
    print(f"error: {shown}", file=sys.stderr, flush=True)


def _make_unbreakable(name: str) -> list[OSError]:
    """Replaces sys.stdout or sys.stderr by a stream that never raises. The list receives its first failure."""
    stream = getattr(sys, name)
    failures: list[OSError] = []
    if stream is None or stream is not getattr(sys, f"__{name}__"):  # closed, or already replaced
        return failures
    stream.flush()
    raw = io.BufferedWriter(_Unbreakable(stream.fileno(), failures))  # type: ignore[type-var]
    lines = stream.isatty() or name == "stderr"
    wrapper = _Redacting if name == "stderr" else io.TextIOWrapper
    setattr(sys, name, wrapper(raw, stream.encoding, errors="replace", line_buffering=lines))
    return failures


class _Redacting(io.TextIOWrapper):
    """A stream of messages, which may quote what the user has typed."""

    def write(self, text: str) -> int:
        return super().write(redacted(text))


class _Unbreakable(io.RawIOBase):
    """A descriptor that accepts every write, even after its reader is gone."""

    def __init__(self, descriptor: int, failures: list[OSError]) -> None:
        self._descriptor, self._failures = descriptor, failures

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def write(self, data: memoryview) -> int:  # type: ignore[override]
        try:
            return os.write(self._descriptor, data)
        except OSError as error:
            self._failures[:] = self._failures or [error]
            return data.nbytes
