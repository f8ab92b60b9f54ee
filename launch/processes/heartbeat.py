"""Heartbeats: what a process knows about the others when they no longer answer.

Every few seconds a thread of each process writes to the group's store where in this program the main thread is. A
process that was killed or stopped, or whose node is cut off, falls silent; one that hangs is where no other is.
"""

import json
import socket
import sys
import threading
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from torch.distributed import Store  # type: ignore[attr-defined]  # public, though not marked so

ROOT = Path(__file__).resolve().parents[2]
EVERY_S = 5.0
SILENT_S = 4 * EVERY_S
ANSWER_S = 10.0  # for the store, which may be on the node that is gone
MOST = 8  # lines of a report


class Beat(NamedTuple):
    host: str
    time: float  # by the clock of its host
    location: str


class Heartbeat:
    """A thread that beats while the context is open."""

    def __init__(self, store: Store, rank: int, world_size: int) -> None:
        self._store, self._rank, self._world_size = store, rank, world_size
        self._main = threading.get_ident()
        self._over = threading.Event()

    def __enter__(self) -> "Heartbeat":
        threading.Thread(target=self._beat, daemon=True, name="heartbeat").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _beat(self) -> None:
        store = self._store.clone()  # type: ignore[attr-defined]  # its own connection: nobody waits for others
        with suppress(RuntimeError):  # the store is gone, and soon so is the run
            while True:
                beat = Beat(socket.gethostname(), time.time(), location(sys._current_frames().get(self._main)))
                store.set(f"heartbeat/{self._rank}", json.dumps(beat))
                if self._over.wait(EVERY_S):
                    return

    def report(self) -> str:
        """A few lines about all processes. Takes at most `ANSWER_S`."""
        beats: list[Beat | None] = []
        reader = threading.Thread(target=self._read, args=(beats,), daemon=True)
        reader.start()
        reader.join(ANSWER_S)
        if len(beats) < self._world_size:
            return "  nothing is known about the others: the store of heartbeats, on rank 0's node, does not answer"
        now, silent, others = time.time(), [], defaultdict(list)
        for rank, beat in enumerate(beats):
            if beat is None or now - beat.time > SILENT_S:
                silent.append(f"  rank {rank} {_last_seen(beat, now)}")
            else:
                others[beat.location].append(f"{rank} on {beat.host}")
        lines = silent[: MOST - 1] + [f"  and {len(silent) - MOST + 1} more, silent too"] * (len(silent) >= MOST)
        for where, ranks in list(others.items())[:MOST]:
            lines.append(f"  rank {', '.join(ranks[:3])}{f' and {len(ranks) - 3} more' * (len(ranks) > 3)}: in {where}")
        return "\n".join(lines)

    def _read(self, beats: list[Beat | None]) -> None:
        with suppress(RuntimeError):  # torch's, when nobody answers
            store = self._store.clone()  # type: ignore[attr-defined]
            for rank in range(self._world_size):
                key = f"heartbeat/{rank}"
                beats.append(Beat(*json.loads(store.get(key))) if store.check([key]) else None)


def _last_seen(beat: Beat | None, now: float) -> str:
    return f"on {beat.host}: silent for {now - beat.time:.0f} s, last in {beat.location}" if beat else "never appeared"


def location(frame: FrameType | None) -> str:
    """The calls inside this program that lead to a frame: train/loop.py:66 > launch/processes/stop.py:83."""
    calls = []
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in ("train", "data", "launch"):
            calls.append(f"{path.relative_to(ROOT)}:{frame.f_lineno}")
        frame = frame.f_back
    return " > ".join(reversed(calls)) or "other code"
