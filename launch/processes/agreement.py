"""The largest number that any process sent: exchanged beside a step, read before the next, the same on every process.

The reduction starts before the step's own work, on its own stream, and depends on none of it. So the device never
waits for it, and the host waits only when it would run more than a step ahead of the device.
"""

import time

import torch
import torch.distributed as dist

from launch.processes.environment import Environment

PATIENCE_S = 540.0  # for the device; after 600 NCCL's watchdog would kill this process without saying who is missing
LONGEST_PAUSE_S = 1e-3  # between two polls of the device


class Largest:
    """`send(number)`, then work, then `read()` the largest one sent. All processes call both at the same points."""

    def __init__(self, env: Environment) -> None:
        self.env = env
        self.under_way = False
        self._stream: torch.cuda.Stream | None = None

    def send(self, number: int) -> None:
        """Starts the exchange of this process's number; does not wait."""
        self.under_way = True
        if self.env.device.type == "cuda":
            self._send_from_device(number)
        else:
            self._number = torch.tensor([number])
            self._work = dist.all_reduce(self._number, dist.ReduceOp.MAX, async_op=True)

    def _send_from_device(self, number: int) -> None:
        if self._stream is None:
            self._stream = torch.cuda.Stream(self.env.device)  # type: ignore[no-untyped-call]
            self._answer = torch.empty(1, dtype=torch.int64, pin_memory=True)
        with torch.cuda.stream(self._stream):
            self._number = torch.full((1,), number, device=self.env.device)
            dist.all_reduce(self._number, dist.ReduceOp.MAX, async_op=True).wait()  # this stream waits, not the host
            self._answer.copy_(self._number, non_blocking=True)
            self._there = self._stream.record_event()

    def read(self) -> int:
        """The largest of the numbers last sent. DistError: another process does not answer."""
        self.under_way = False
        if self._stream is not None:
            wait_for(self._there)
            return int(self._answer)
        self._work.wait()
        return int(self._number)


def wait_for_device(device: torch.device) -> None:
    """Waits until the device has finished its queued work. DistError: another process does not answer."""
    if device.type == "cuda":
        wait_for(torch.cuda.current_stream(device).record_event())


def wait_for(event: torch.cuda.Event) -> None:
    """Polls the event: a wait inside CUDA never ends if another process hangs."""
    began, pause_s = time.monotonic(), 1e-5
    while not event.query():  # type: ignore[no-untyped-call]
        if time.monotonic() - began > PATIENCE_S:
            raise dist.DistError(f"the device has waited for another process for {PATIENCE_S:.0f} s")
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
