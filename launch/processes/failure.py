"""Reports of a failing process: whose failure it is and, to torchrun, the reason in one line."""

import json
import time
from contextlib import suppress
from pathlib import Path

import torch.distributed as dist

OF_THE_CONNECTION = ("gloo", "NCCL", "nccl", "Connection closed by peer", "Connection reset by peer", "Broken pipe")


def is_of_another_process(error: RuntimeError) -> bool:
    """Whether torch raised it because another process of the group is gone or does not answer."""
    return isinstance(error, dist.DistError) or any(word in str(error) for word in OF_THE_CONNECTION)


def tell_torchrun(error_file: str | None, reason: str) -> None:
    """Writes the reason for torchrun, which ends its output with that of the process that failed first."""
    if error_file:
        before = int(time.time()) - 1  # torchrun counts whole seconds: processes that this one takes down come later
        with suppress(OSError):
            Path(error_file).parent.mkdir(parents=True, exist_ok=True)
            Path(error_file).write_text(json.dumps({"message": reason, "timestamp": before}))
