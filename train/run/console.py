"""A run on the console: a live bar on a terminal; elsewhere plain lines, as a batch job's log file wants them."""

import os
import sys
import time
from contextlib import suppress

from rich.console import Console as Terminal
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Console:
    """Never raises for a console that is gone or cannot spell something."""

    def __init__(self, start: int, end: int) -> None:
        """start, end: images seen now and at the end."""
        self.start, self.end = start, end
        self.began = time.perf_counter()
        self._bar: Progress | None = None
        self._gone = sys.stdout is None
        self._encoding = None if self._gone else sys.stdout.encoding  # rich puts a stream without one in its place
        if not self._gone and sys.stdout.isatty():
            columns = (BarColumn(), TextColumn("{task.percentage:3.0f} %"))
            text = TextColumn("{task.description}", markup=False)
            # no thread of its own draws: what it raised would be seen by nobody
            self._bar = Progress(*columns, text, TimeRemainingColumn(), console=Terminal(), auto_refresh=False)
            self._task: TaskID = self._bar.add_task("", total=end, completed=start)
            self._bar.start()

    def line(self, images: int, text: str, keep: bool = False) -> None:
        """keep: stays above the bar."""
        if self._gone:
            return
        text = printable(text, self._encoding)
        try:
            if self._bar is None:
                left = (time.perf_counter() - self.began) / max(images - self.start, 1) * (self.end - images)
                print(f"{images:>9}/{self.end} images  {text}  left {max(left, 0) / 60:.1f} min", flush=True)
            elif keep:
                self._bar.console.print(text, markup=False, highlight=False)
            else:
                self._bar.update(self._task, completed=images, description=text, refresh=True)
        except (OSError, ValueError):  # a closed pipe, a terminal that was hung up
            self._gone = True
            _silence_stdout()

    def say(self, text: str) -> None:
        """After `close`: as it is, on lines of its own."""
        if not self._gone:
            print("\n".join(printable(line, self._encoding) for line in text.splitlines()), flush=True)

    def close(self) -> None:
        if self._bar is not None:
            try:
                self._bar.stop()
            except (OSError, ValueError):
                _silence_stdout()


def printable(text: str, encoding: str | None) -> str:
    """Letters that a console of this encoding cannot show, and control characters, as escapes."""
    text = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
    try:
        return text.encode(encoding or "ascii", "backslashreplace").decode(encoding or "ascii")
    except LookupError:
        return text.encode("ascii", "backslashreplace").decode()


def _silence_stdout() -> None:
    """Python flushes stdout once more at its end, and would end with an error."""
    with suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
