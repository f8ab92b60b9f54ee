"""What a process that fails tells the others: whose failure it is, and to torchrun in one line why."""

import json
import time
from contextlib import suppress
from pathlib import Path

import torch.distributed as dist

OF_THE_CONNECTION = ("gloo", "NCCL", "nccl", "Connection closed by peer", "Connection reset by peer", "Broken pipe")


def is_of_another_process(error: RuntimeError) -> bool:
    """Whether torch raised it because a process of the group has gone or does not answer."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in OF_THE_CONNECTION)


def tell_torchrun(error_file: str | None, reason: str) -> None:
    """torchrun shows what the process that failed first has left in this file, after everything else it says."""
    if error_file:
        before = int(time.time()) - 1  # torchrun counts in seconds: others that fail of it within this one come later
        with suppress(OSError):
            Path(error_file).parent.mkdir(parents=True, exist_ok=True)
            Path(error_file).write_text(json.dumps({"message": reason, "timestamp": before}))
