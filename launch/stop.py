"""A scheduler's warning -> a flag. Nothing else happens in the handler: no printing, no collective, no exit."""

import signal
from types import FrameType

WARNINGS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)  # what Slurm, torchrun and cloud agents send


class StopSignal:
    """`requested` turns true once any of the warnings has arrived in this process, for as long as it is entered."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> "StopSignal":
        self._previous = {number: signal.signal(number, self._raise_flag) for number in WARNINGS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _raise_flag(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
