"""Displays that never end a run: a failure is reported once, then ignored."""

import sys
from collections.abc import Callable
from contextlib import suppress

from launch.command import Stopped


class Attempts:
    """`attempt("the console", show)` calls `show` and returns whether it succeeded."""

    def __init__(self, afterwards: str) -> None:
        """afterwards: what happens regardless, for the notice: "training continues"."""
        self.afterwards = afterwards
        self._failed: set[str] = set()

    def __call__(self, what: str, show: Callable[[], object]) -> bool:
        try:
            show()
        except Stopped:  # by a signal that came meanwhile
            raise
        except Exception as error:  # whatever a disk, a terminal, a drawing or a library's thread raises
            if what not in self._failed:
                self._failed.add(what)
                notice(f"{what} failed ({describe(error)}); {self.afterwards}")
            return False
        return True


def notice(text: str) -> None:
    """Writes a line to stderr, if there is one."""
    with suppress(OSError, ValueError, AttributeError):
        print(text.encode("ascii", "backslashreplace").decode(), file=sys.stderr, flush=True)


def describe(error: BaseException) -> str:
    """The error on one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, OSError) and text else f"{type(error).__name__}: {text}"
