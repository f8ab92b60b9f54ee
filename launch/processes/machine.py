"""Services of Linux for a process: the memory left, reuse of freed memory, a signal when the parent dies."""

import ctypes
import os
import resource
import signal
from contextlib import suppress
from pathlib import Path

from launch.interrupt import STARTED_BY

PR_SET_PDEATHSIG = 1  # linux/prctl.h
OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = (("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"))  # versions 2 and 1
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


def memory_left() -> int:
    """Bytes available on the machine, within the limits of the process's control group and address space."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    for line in OWN_GROUPS.read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if "memory" in controllers.split(",") or not controllers:  # version 1, or version 2, which names none
            root, name = GROUPS[bool(controllers)]
            folder = Path(root, group.strip("/"))
            limits = [path / name for path in (folder, *folder.parents) if (path / name).exists()]
            sizes += [int(text) for limit in limits if (text := limit.read_text().strip()) != "max"]
    most, _ = resource.getrlimit(resource.RLIMIT_AS)  # ulimit -v
    if most != resource.RLIM_INFINITY:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        sizes.append(max(most - used, 0))
    return min(sizes)


def keep_freed_memory() -> None:
    """Tells glibc to reuse big freed blocks instead of returning them to the kernel.

    Every training step on the CPU frees and reallocates the same activations, by default with a page fault for every
    4 KiB (docs/log has the gain). Does nothing without glibc.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def signal_when_the_parent_dies(number: signal.Signals) -> None:
    """Requests a signal, so that the processes that a killed torchrun leaves behind save and exit.

    Sends it at once if the parent is already dead.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != STARTED_BY:
        os.kill(os.getpid(), number)
