"""Ctrl-C, SIGTERM and a closed terminal end every command alike: in one line, with nothing half-written.

While a command's modules are imported there is nothing to undo: a signal ends it where it is. After that a signal
raises KeyboardInterrupt (launch/command.py); training has handlers of its own for SIGTERM (launch/processes/stop.py).
A bus error, from a mapped file that was cut short, is one line as well.
"""

import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130  # exit status; the shell's convention: 128 + SIGINT
NOTICE = "interrupted"
PACKAGES = ("train", "data", "launch")
AGAIN_S = 1.0  # one Ctrl-C reaches a process twice: from the terminal, and from torchrun or bash before it
STARTED_BY = os.getppid()  #: as long as it lives; imports take seconds, in which it may die
WRITTEN_S = 60  # a file that was cut short to be overwritten may have its length again
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_while_importing() -> None:
    """Called where these packages are first imported; does nothing in other people's programs."""
    if _is_command() and current_thread() is main_thread():
        for number in _heeded():
            signal.signal(number, _end)


def _is_command() -> bool:
    """Whether Python was started with one of our modules: python train/main.py, python -m data.shards."""
    if sys.argv[:1] == ["-m"]:  # as long as Python looks for the module
        return any(word.partition(".")[0] in PACKAGES for word in sys.orig_argv)
    script = getattr(sys.modules["__main__"], "__file__", None)
    return script is not None and Path(script).resolve().is_relative_to(Path(__file__).resolve().parents[1] / "train")


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    with suppress(OSError):
        os.write(2, f"error: {NOTICE}\n".encode())
    os._exit(INTERRUPTED)


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """A context in which these signals raise KeyboardInterrupt, once: the second must not interrupt the cleaning up."""
    last = float("-inf")

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        nonlocal last
        if time.monotonic() - last > AGAIN_S:
            last = time.monotonic()
            raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _heeded()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def ended_at_once(undo: Callable[[], object]) -> Iterator[None]:
    """A context in which these signals undo and end a command: an exception anywhere in C++ might crash it instead."""
    with ExitStack() as handlers:
        if _is_command() and current_thread() is main_thread():
            for number in _heeded():
                before = signal.signal(number, lambda *caught: (undo(), _end(*caught)))
                handlers.callback(signal.signal, number, before)
        yield


def _heeded() -> list[signal.Signals]:
    """Those that nobody has switched off: nohup ignores SIGHUP, a shell ignores SIGINT for what runs in background."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]


def name_cut_files() -> None:
    """From now on a bus error ends the process with a line: reading a mapped file that was cut short causes one."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).signal(signal.SIGBUS, END_OF_FILE)  # Python's own handlers wait for the read to return


def _end_of_file(_: int) -> None:
    found = ", ".join(cut_files()) or "a file, or memory in /dev/shm,"
    text = f"error: bus error: {found} was cut short, or lost its disk, while in use; restore it and start again\n"
    os.write(2, os.fsencode(text))
    os._exit(1)


END_OF_FILE = ctypes.CFUNCTYPE(None, ctypes.c_int)(_end_of_file)


def cut_files() -> list[str]:
    """Mapped files, not libraries, that are shorter than they were; if none is any more, those just written to."""
    shorter, written = dict[str, None](), dict[str, None]()
    for line in Path("/proc/self/maps").read_text(errors="surrogateescape").splitlines():
        addresses, rights, offset, _, inode, *path = line.split(maxsplit=5)
        begin, end = (int(number, 16) for number in addresses.split("-"))
        with suppress(OSError):
            status = Path(path[0] if path else "").stat()
            if not rights.endswith("s") or status.st_ino != int(inode):
                continue
            if status.st_size <= int(offset, 16) + end - begin - resource.getpagesize():  # whole pages are mapped
                shorter[path[0]] = None
            if rights == "r--s" and time.time() - status.st_mtime < WRITTEN_S:  # by others: not by this process
                written[path[0]] = None
    return list(shorter or written)
