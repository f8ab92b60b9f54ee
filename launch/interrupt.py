"""Ctrl-C, SIGTERM and a closed terminal end every command alike: in one line, with nothing half-written.

While a command's modules are imported there is nothing to undo: a signal ends it where it is. After that a signal
raises KeyboardInterrupt (launch/command.py); training has handlers of its own for SIGTERM (launch/processes/stop.py).
"""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130  # exit status; the shell's convention: 128 + SIGINT
NOTICE = "interrupted"
PACKAGES = ("train", "data", "launch")
AGAIN_S = 1.0  # one Ctrl-C reaches a process twice: from the terminal, and from torchrun or bash before it
STARTED_BY = os.getppid()  #: as long as it lives; imports take seconds, in which it may die
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


def _heeded() -> list[signal.Signals]:
    """Those that nobody has switched off: nohup ignores SIGHUP, a shell ignores SIGINT for what runs in background."""
    return [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
