"""A TensorBoard event file that is written immediately: a full disk is an error of the call that hit it.

SummaryWriter writes in its own thread, whose errors appear at some later call and as a traceback of that thread.
"""

import os
import re
import socket
import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

NAME = re.compile(r"events\.out\.tfevents\.([0-9]+)\..*")


class EventFile:
    def __init__(self, folder: Path, start: int) -> None:
        """start: images seen. Readers drop what earlier files hold beyond it."""
        folder.mkdir(parents=True, exist_ok=True)
        name = f"events.out.tfevents.{_number_after_others(folder):010d}.{socket.gethostname()}.{os.getpid()}"
        self._records = RecordWriter((folder / name).open("xb"))
        self._write(Event(file_version="brain.Event:2"))
        # Points at `start` were written before the checkpoint there, which is not evaluated again.
        self._write(Event(step=start + 1 if start else 0, session_log=SessionLog(status=SessionLog.START)))
        self.flush()

    def add(self, summary: Summary, images: int = 0) -> None:
        self._write(Event(step=images, summary=summary))

    def flush(self) -> None:
        self._records.flush()

    def close(self) -> None:
        self._records.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._records.write(event.SerializeToString())


def _number_after_others(folder: Path) -> int:
    """Seconds since 1970, but more than any earlier file has: readers go by the order of names.

    Otherwise a clock that was set back would hide what a resumed run writes.
    """
    matches = [NAME.fullmatch(path.name) for path in folder.iterdir()]
    return max([int(time.time()), *(int(match[1]) + 1 for match in matches if match)])
