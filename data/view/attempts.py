"""Showing something never ends what is shown: a failure is said once, then left alone."""

import sys
from collections.abc import Callable
from contextlib import suppress


class Attempts:
    """`attempt("the console", show)` calls `show` and tells whether it got through."""

    def __init__(self, afterwards: str) -> None:
        """afterwards: what happens all the same, for the notice: "training continues"."""
        self.afterwards = afterwards
        self._failed: set[str] = set()

    def __call__(self, what: str, show: Callable[[], object]) -> bool:
        try:
            show()
        except Exception as error:  # whatever a disk, a terminal, a drawing or a library's own thread raises
            if what not in self._failed:
                self._failed.add(what)
                notice(f"{what} failed ({describe(error)}); {self.afterwards}")
            return False
        return True


def notice(text: str) -> None:
    """A line on stderr, where there is one to write to."""
    with suppress(OSError, ValueError, AttributeError):
        print(text.encode("ascii", "backslashreplace").decode(), file=sys.stderr, flush=True)


def describe(error: BaseException) -> str:
    """Error on one line."""
    text = " ".join(str(error).split())
    return text if isinstance(error, OSError) and text else f"{type(error).__name__}: {text}"
