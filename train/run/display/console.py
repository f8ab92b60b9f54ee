"""Shows a run on the console: a live bar on a terminal; plain lines elsewhere, such as in a batch job's log."""

import os
import sys
import time
from contextlib import suppress

from rich.cells import cell_len, set_cell_size
from rich.console import Console as Terminal
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from data.wording import duration_text, printable

ASIDE_S = 10.0  # between two lines of a log file outside training
BAR = 16  # characters


class Console:
    """The console; never raises if it is gone or cannot show a character."""

    def __init__(self, start: int, end: int, epochs: int) -> None:
        """start, end: images seen now and at the end, after so many epochs."""
        self.start, self.end, self.epochs = start, end, epochs
        self.began = self._spoke = time.perf_counter()
        self._bar: Progress | None = None
        self._gone = sys.stdout is None
        self._encoding = None if self._gone else sys.stdout.encoding  # rich replaces it by a stream without one
        if not self._gone and sys.stdout.isatty():
            columns = (BarColumn(BAR), TextColumn("{task.percentage:3.0f} %"))
            text = TextColumn("{task.description}", markup=False)
            # not drawn from a thread, whose errors nobody would see
            self._bar = Progress(*columns, text, console=Terminal(), auto_refresh=False)
            self._task: TaskID = self._bar.add_task("", total=end, completed=start)
            self._bar.start()

    def line(self, images: int, text: str, keep: bool = False) -> None:
        """Shows progress, the text, and the time left for the whole run. keep: only the text, permanently."""
        spent = time.perf_counter() - self.began
        left = "?"
        if images > self.start:
            left = duration_text(spent / (images - self.start) * (self.end - images))
        epoch = min(max(images - 1, 0) * self.epochs // max(self.end, 1) + 1, self.epochs)
        images = min(images, self.end)  # the last batch may begin another epoch
        if not keep:
            text = f"epoch {epoch}/{self.epochs}  {images:>{len(f'{self.end:,}')},}/{self.end:,} images  {text}"
        ahead = self._bar is not None and not keep  # a narrow terminal cuts the end of a line
        self._show(images, f"left {left}  {text}" if ahead else f"{text}  left {left}", keep)

    def aside(self, text: str) -> None:
        """Shows the progress of slow work outside training: in the bar's text, or now and then in a log file."""
        if self._bar is not None or time.perf_counter() - self._spoke > ASIDE_S:
            self._show(None, text)

    def _show(self, images: int | None, text: str, keep: bool = False) -> None:
        if self._gone:
            return
        self._spoke = time.perf_counter()
        text = encodable(text, self._encoding)
        try:
            if self._bar is None:
                print(text, flush=True)
            elif keep:
                self._bar.console.print(text, markup=False, highlight=False)
                self._bar.update(self._task, completed=images, description="", refresh=True)
            else:
                room = self._bar.console.width - BAR - len(" 100 %  ")  # rich would squeeze out the bar
                text = text if cell_len(text) <= room else set_cell_size(text, max(room, 0))
                self._bar.update(self._task, completed=images, description=text, refresh=True)
        except (OSError, ValueError):  # a closed pipe, a terminal that hung up
            self._gone = True
            _silence_stdout()

    def say(self, text: str) -> None:
        """Prints text unchanged on its own lines. Call after `close`."""
        if not self._gone:
            print("\n".join(encodable(line, self._encoding) for line in text.splitlines()), flush=True)

    def close(self) -> None:
        if self._bar is not None:
            try:
                self._bar.stop()
            except (OSError, ValueError):
                _silence_stdout()


def encodable(text: str, encoding: str | None) -> str:
    """The text with escapes for control characters and those that this encoding cannot show."""
    text = printable(text)
    try:
        return text.encode(encoding or "ascii", "backslashreplace").decode(encoding or "ascii")
    except LookupError:
        return text.encode("ascii", "backslashreplace").decode()


def _silence_stdout() -> None:
    """Silences stdout: Python flushes it once more at its end, and would end with an error."""
    with suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)
