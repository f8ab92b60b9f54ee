"""A scheduler's warning -> a flag -> an agreement of all processes -> a mark that says how the run ended.

Once training has begun the signal handler sets a flag and does nothing else: no printing, no collective, no exit. A run
can also be asked to stop by a file, RUN/stop, which a batch script writes where a signal would hit too many processes.

Only one attempt at a time may work on a run: its folder is locked, and an attempt that starts while the previous one is
still saving waits for it.
"""

import fcntl
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

from launch.command import Stopped
from launch.processes.agreement import Largest
from launch.processes.environment import Environment

WARNINGS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # what Slurm, torchrun and cloud agents send
LOOK_EVERY_S = 1.0  # for the file, which may be on a slow shared disk
PATIENCE_S = 120.0  # for an attempt that is still saving
READY, WAITS, STOPS = range(3)  # what a process tells the others


class Stop:
    """Enter it before reading anything of the run. At its end either RUN/finished or RUN/interrupted exists.

    Until the processes first agree on whether to stop there is nothing to save: a warning then raises `Stopped` in
    whatever the process is waiting for (another attempt, an index from a silent server, a lock).
    """

    def __init__(self, run: Path, env: Environment) -> None:
        self.run, self.env = run, env
        self._warned = False
        self._looked = 0.0
        self._over = False
        self._began = False
        self._claimed = False
        self._largest = Largest(env)
        self._heard = WAITS  # from all, about the next step

    def __enter__(self) -> "Stop":
        self._previous = {number: signal.signal(number, self._warn) for number in WARNINGS}
        if self.env.rank == 0:
            self._claim()
            (self.run / "stop").unlink(missing_ok=True)
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if self._claimed:
            if isinstance(error, Stopped):
                self.mark(finished=False)
            self._lock.close()

    def _claim(self) -> None:
        """Locks the run. ValueError if another process keeps working on it."""
        self.run.mkdir(parents=True, exist_ok=True)
        self._lock = (self.run / "lock").open("a+b", buffering=0)  # a full disk must not fail its close
        try:
            self._wait_for_lock()
        except BaseException:
            self._lock.close()
            raise
        self._claimed = True
        with suppress(OSError):
            self._lock.truncate(0)
            self._lock.write(f"process {os.getpid()} on {socket.gethostname()}".encode())

    def _wait_for_lock(self) -> None:
        began = time.monotonic()
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() - began > PATIENCE_S:
                    self._lock.seek(0)
                    holder = self._lock.read().decode(errors="replace") or "another process"
                    raise ValueError(
                        f"{self.run} is in use by {holder}; expected one attempt at a time: stop that one, or choose "
                        "another `run`"
                    ) from None
                time.sleep(0.2)
            except OSError as error:
                self.env.say(
                    f"{self._lock.name} cannot be locked ({error}): nothing keeps a second attempt from writing beside "
                    "this one; start one at a time"
                )
                return

    def _warn(self, _number: int, _frame: FrameType | None) -> None:
        self._warned = True
        if not self._began:
            raise Stopped("stopped before the first step; nothing was trained")

    def _begin(self) -> None:
        """Removes old marks: from now on there may be something to save, and this attempt's mark counts."""
        if not self._began and self.env.rank == 0:
            for name in ("interrupted", "finished"):
                (self.run / name).unlink(missing_ok=True)
        self._began = True

    def look(self) -> bool:
        """Whether this process was asked to stop: by a signal or, on rank 0, by the file."""
        if not self._warned and self.env.rank == 0 and time.monotonic() - self._looked > LOOK_EVERY_S:
            self._looked = time.monotonic()
            self._warned = (self.run / "stop").exists()
        return self._warned

    def agreed(self) -> bool:
        """Whether any process was asked to stop. All must call it at the same place, and get the same answer.

        Asks again while a process is `waiting`. Costs an all-reduce over all hosts.
        """
        self._begin()
        self._over = self._over or self._hear() == STOPS
        while not self._over:
            said = self.env.max(STOPS if self.look() else READY)
            if said == READY:
                return False
            self._over = said == STOPS
        return True

    def agreed_ahead(self, *, following: bool) -> bool:
        """`agreed` before a step, from what all said before the last one, so that no host has to ask another.

        following: whether this process also has what it needs for the step after this one. If any process does not,
        all ask each other again before that step.
        """
        if self.env.world_size == 1:
            return self.agreed()
        if (self._over or self._hear() != READY) and self.agreed():
            return True
        self._heard = WAITS
        self._largest.send(STOPS if self.look() else READY if following else WAITS)
        return False

    def waiting(self) -> bool:
        """Whether all agreed to stop; called repeatedly by a process that waits (for a shard) on its way to `agreed`.

        The others are already there, and would in time take a silent process for dead.
        """
        self._begin()
        self._over = self._over or self._hear() == STOPS
        if not self._over:
            self._over = self.env.max(STOPS if self.look() else WAITS) == STOPS
        return self._over

    def _hear(self) -> int:
        """The last agreement. One still under way is read here, at the same place by all."""
        if self._largest.under_way:
            self._heard = self._largest.read()
        return self._heard

    def mark(self, *, finished: bool) -> None:
        """Call when everything is on disk: a batch script requeues an interrupted run and leaves a finished one."""
        if self.env.rank == 0:
            (self.run / ("finished" if finished else "interrupted")).touch()
