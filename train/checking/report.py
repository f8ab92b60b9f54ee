"""The report of a check: lines as they come, and all problems at the end."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.wording import size_text
from launch.command import reason_of


class Report:
    """Prints lines as they come; keeps the problems for the end."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def say(self, name: str, text: str) -> None:
        print(f"{name:<12}{text}", flush=True)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A context in which an error ends this part, not the report."""
        try:
            yield
        except (ValueError, OSError) as error:
            self.problems.append(reason_of(error) or str(error))
            self.say(name, "has a problem, see below")

    def free(self, folder: Path) -> int:
        """Free bytes on the disk where this folder is, or would be."""
        return shutil.disk_usage(nearest(folder)).free

    def need(self, folder: Path, size: int, what: str) -> None:
        """ValueError if the disk where this folder is, or would be, lacks room for `size` more bytes."""
        free = self.free(folder)
        self.say("disk", f"{folder}: {size_text(max(size, 0))} more {what}, {size_text(free)} free on this machine")
        if free < size:
            raise ValueError(
                f"{folder}: expected room for {size_text(size)} {what}, found {size_text(free)}; free some space or "
                "choose another folder"
            )


def nearest(folder: Path) -> Path:
    """The folder, or its nearest existing parent."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
