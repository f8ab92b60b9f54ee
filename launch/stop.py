"""A scheduler's warning -> a flag -> an agreement of all processes -> a mark that says how the run ended.

Nothing happens in the signal handler: no printing, no collective, no exit. A run that is to stop may also be told by a
file, RUN/stop: a batch script can write one where a signal would hit too many processes.
"""

import signal
import time
from pathlib import Path
from types import FrameType

from launch.environment import Environment

WARNINGS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # what Slurm, torchrun and cloud agents send
LOOK_EVERY_S = 1.0  # at the file: it may lie on a slow shared disk


class Stop:
    """Entered, it takes up warnings. At the end of a run one of the files RUN/finished and RUN/interrupted is there."""

    def __init__(self, run: Path, env: Environment) -> None:
        self.run, self.env = run, env
        self._warned = False
        self._looked = 0.0

    def __enter__(self) -> "Stop":
        self._previous = {number: signal.signal(number, self._raise_flag) for number in WARNINGS}
        if self.env.rank == 0:
            for name in ("stop", "interrupted", "finished"):
                (self.run / name).unlink(missing_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _raise_flag(self, _number: int, _frame: FrameType | None) -> None:
        self._warned = True

    @property
    def requested(self) -> bool:
        """Of this process."""
        if not self._warned and self.env.rank == 0 and time.monotonic() - self._looked > LOOK_EVERY_S:
            self._looked = time.monotonic()
            self._warned = (self.run / "stop").exists()
        return self._warned

    def agreed(self) -> bool:
        """Whether any process was asked to stop. All must call it at the same place, and get the same answer."""
        return self.env.any(self.requested)

    def mark(self, *, finished: bool) -> None:
        """Call when everything is on disk: a batch script requeues an interrupted run and leaves a finished one."""
        if self.env.rank == 0:
            self.run.mkdir(parents=True, exist_ok=True)
            (self.run / ("finished" if finished else "interrupted")).touch()
