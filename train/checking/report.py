"""The report of a check: lines as they come, and all problems at the end."""

from collections.abc import Iterator
from contextlib import contextmanager

from data.wording import size_text
from launch.command import reason_of
from launch.redact import redacted
from train.starting.room import Need, free, lacking


class Report:
    """Prints lines as they come; keeps the problems for the end."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def say(self, name: str, text: str) -> None:
        print(f"{name:<12}{redacted(text)}", flush=True)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A context in which an error ends this part, not the report."""
        try:
            yield
        except (ValueError, OSError) as error:
            self.problems.append(reason_of(error) or str(error))
            self.say(name, "has a problem, see below")

    def need(self, need: Need) -> None:
        """ValueError if the disk lacks the room."""
        room = size_text(free(need.folder))
        self.say("disk", f"{need.folder}: {size_text(need.size)} more {need.what}, {room} free on this machine")
        for problem in lacking([need]):
            raise ValueError(problem)
