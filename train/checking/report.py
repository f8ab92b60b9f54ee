"""What a check says: lines as they come, and all problems at the end."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Report:
    """Lines for a person as they come; the problems are kept for the end."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def say(self, name: str, text: str) -> None:
        print(f"{name:<12}{text}", flush=True)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is wrong ends this part, not the report."""
        try:
            yield
        except (ValueError, OSError) as error:
            self.problems.append(str(error))
            self.say(name, "not as it should be, see below")

    def free(self, folder: Path) -> int:
        """Bytes on the disk where this folder is, or would be."""
        return shutil.disk_usage(nearest(folder)).free

    def need(self, folder: Path, size: int, what: str) -> None:
        """ValueError: the disk where this folder is, or would be, has no room for so many bytes more."""
        free = self.free(folder)
        self.say("disk", f"{folder}: {amount(max(size, 0))} more {what}, {amount(free)} free on this machine")
        if free < size:
            raise ValueError(
                f"{folder}: expected room for {amount(size)} {what}, found {amount(free)}; make room or choose "
                "another folder"
            )


def nearest(folder: Path) -> Path:
    """The folder, or the lowest one above it that is there."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def amount(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"
