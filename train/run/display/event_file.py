"""A TensorBoard event file that is written immediately: a full disk is an error of the call that hit it.

SummaryWriter writes in its own thread, whose errors appear at some later call and as a traceback of that thread.
"""

import os
import re
import socket
import time
from itertools import islice, takewhile
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

NAME = re.compile(r"events\.out\.tfevents\.([0-9]+)\..*")


class EventFile:
    def __init__(self, folder: Path, start: int) -> None:
        """start: images seen. Readers drop what earlier files hold beyond it."""
        folder.mkdir(parents=True, exist_ok=True)
        self._start, self._tags_at_start = start, _tags_at(start, folder) if start else set()
        name = f"events.out.tfevents.{_number_after_others(folder):010d}.{socket.gethostname()}.{os.getpid()}"
        self._records = RecordWriter((folder / name).open("xb"))
        self._write(Event(file_version="brain.Event:2"))
        # Points at `start` stay: training logged there before its checkpoint.
        self._write(Event(step=start + 1 if start else 0, session_log=SessionLog(status=SessionLog.START)))
        self.flush()

    def add(self, summary: Summary, images: int = 0) -> None:
        """Writes values, except those that an earlier start from the same position has written there."""
        if images == self._start and self._tags_at_start:
            summary = Summary(value=[value for value in summary.value if value.tag not in self._tags_at_start])
        self._write(Event(step=images, summary=summary))

    def flush(self) -> None:
        self._records.flush()

    def close(self) -> None:
        self._records.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())


def _tags_at(start: int, folder: Path) -> set[str]:
    """Tags of what is at `start` already: starts from there evaluate again until one of them saves a checkpoint."""
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader  # takes 0.2 s

    tags: set[str] = set()
    for _, path in reversed(_numbered(folder)):
        events = LegacyEventFileLoader(str(path)).Load()
        marker = next(islice(events, 1, None), None)  # after the version
        if marker is None or marker.step > start + 1:
            continue
        if marker.step <= start:
            break
        until_start = takewhile(lambda event: event.step <= start, events)
        tags |= {value.tag for event in until_start if event.step == start for value in event.summary.value}
    return tags


def _number_after_others(folder: Path) -> int:
    """Seconds since 1970, but more than any earlier file has: readers go by the order of names.

    Otherwise a clock that was set back would hide what a resumed run writes.
    """
    return max([int(time.time()), *(number + 1 for number, _ in _numbered(folder))])


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """The event files of a folder and their numbers, in the order in which readers take them."""
    matches = [(NAME.fullmatch(path.name), path) for path in folder.iterdir() if path.is_file()]
    return sorted((int(match[1]), path) for match, path in matches if match)
