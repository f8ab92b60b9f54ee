"""What Linux does for a process: tells memory that is left, keeps freed memory, signals the death of the parent."""

import ctypes
import signal
from contextlib import suppress
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = (("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"))  # versions 2 and 1
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


def memory_left() -> int:
    """Bytes of the machine that nobody uses, or of the control group that the process lives in."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    for line in OWN_GROUPS.read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if "memory" in controllers.split(",") or not controllers:  # of version 1, or of version 2, which names none
            root, name = GROUPS[bool(controllers)]
            folder = Path(root, group.strip("/"))
            limits = [path / name for path in (folder, *folder.parents) if (path / name).exists()]
            sizes += [int(text) for limit in limits if (text := limit.read_text().strip()) != "max"]
    return min(sizes)


def keep_freed_memory() -> None:
    """Tells glibc to reuse big freed blocks instead of returning them to the kernel.

    A training step on the CPU frees and asks for the same activations again; by default each time a page fault for
    every 4 KiB (docs/log has the gain). Elsewhere than on glibc nothing happens.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def signal_when_the_parent_dies(number: signal.Signals) -> None:
    """A killed torchrun leaves its processes behind: they then get SIGTERM, save and leave."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").prctl(PR_SET_PDEATHSIG, number)
