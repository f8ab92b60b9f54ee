"""The process environment as one value: who am I among how many, on which device. The only reader of os.environ."""

import atexit
import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar, cast

import torch
import torch.distributed as dist

from launch.heartbeat import Roll
from launch.rendezvous import meet, meeting_place

T = TypeVar("T")
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Environment:
    """One process of a run. In a run of one process the collective methods return what they are given."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    device: torch.device = CPU
    launcher: str = "single"

    def __str__(self) -> str:
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "cpu"
        return f"rank {self.rank} of {self.world_size} on {socket.gethostname()}, {name}, started by {self.launcher}"

    def mean(self, values: torch.Tensor) -> torch.Tensor:
        """Mean over all processes, on the device, in place."""
        if self.world_size > 1:
            dist.all_reduce(values)
            values /= self.world_size
        return values

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process. All processes must call it at the same place."""
        return bool(self.max(int(flag)))

    def max(self, number: int) -> int:
        """The largest of all processes, which must call it at the same place."""
        if self.world_size == 1:
            return number
        largest = torch.tensor([number])
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest.item())

    def gather(self, value: T) -> list[T]:
        """Everyone's value, in rank order, on rank 0; an empty list elsewhere."""
        if self.world_size == 1:
            return [value]
        values: list[T | None] | None = [None] * self.world_size if self.rank == 0 else None
        dist.gather_object(value, values)
        return cast(list[T], values or [])

    def broadcast(self, value: T) -> T:
        """Rank 0's value on every rank."""
        if self.world_size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box)
        return box[0]

    def first(self, work: Callable[[], T]) -> T:
        """Rank 0 does the work, every rank gets what came of it. It may take longer than the timeout of the group.

        Meanwhile all ranks meet once a second, so that none of them waits long for any other.
        """
        if self.world_size == 1:
            return work()
        with ThreadPoolExecutor(1, thread_name_prefix="first") as thread:
            doing = thread.submit(work) if self.rank == 0 else None
            while self.any(doing is not None and not _over(doing)):
                pass
            return self.broadcast(doing.result() if doing else cast(T, None))

    def say(self, text: str) -> None:
        """Once for all processes, on stderr."""
        if self.rank == 0:
            print(text, file=sys.stderr, flush=True)

    def memory(self) -> int:
        """Bytes that each process may fill: of its GPU, or its share of what its machine has left. The least of all."""
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            mine = free + torch.cuda.memory_reserved(self.device)
        else:
            hosts = self.broadcast(self.gather(socket.gethostname()))
            mine = _memory_left() // hosts.count(socket.gethostname())
        return self.broadcast(min(self.gather(mine), default=0))

    def barrier(self) -> None:
        if self.world_size > 1:
            dist.all_reduce(torch.zeros(1))  # on the host: needs no device and keeps none busy


def _over(work: Future[T]) -> bool:
    """Looks for a second."""
    return bool(wait([work], 1.0).done)


def detect(environ: Mapping[str, str], gpus: int) -> Environment:
    """What the launcher says; `gpus`: how many this process can see. Pure."""
    if "RANK" in environ and "WORLD_SIZE" in environ:
        rank, world_size, local_rank = (int(environ.get(name, "0")) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
        return Environment(rank, world_size, local_rank, _device(local_rank, gpus), "torchrun")
    if int(environ.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        rank, world_size, local_rank = (
            int(environ[f"SLURM_{name}"]) for name in ("PROCID", "STEP_NUM_TASKS", "LOCALID")
        )
        bound = gpus == 1  # srun --gpus-per-task=1: each task sees its own as the first
        return Environment(rank, world_size, local_rank, _device(0 if bound else local_rank, gpus), "srun")
    return Environment(device=_device(0, gpus))


def _device(number: int, gpus: int) -> torch.device:
    if gpus and number >= gpus:
        raise ValueError(
            f"process {number + 1} of {socket.gethostname()} sees {gpus} GPU{'s' * (gpus > 1)}; expected one for each: "
            f"start {gpus} (torchrun --nproc-per-node {gpus}, srun --ntasks-per-node={gpus})"
        )
    return torch.device("cuda", number) if gpus else CPU


@contextmanager
def connect(timeout: timedelta = timedelta(minutes=10)) -> Iterator[Environment]:
    """Opens the process group where there is more than one process, and closes it."""
    env = detect(os.environ, torch.cuda.device_count())
    if env.device.type == "cuda":
        torch.cuda.set_device(env.device)
    else:
        _keep_freed_memory()
    if env.world_size == 1:
        yield env
        return
    _warn_when_the_launcher_dies()
    backend = "cpu:gloo,cuda:nccl" if env.device.type == "cuda" else "gloo"  # host data never waits for the device
    if env.launcher == "srun":
        store = meet(*meeting_place(os.environ), env.rank, env.world_size, timeout)
    else:
        store, _, _ = next(dist.rendezvous("env://", timeout=timeout))  # type: ignore[attr-defined]
    dist.init_process_group(backend, store=store, rank=env.rank, world_size=env.world_size, timeout=timeout)
    with Roll(store, env.rank, env.world_size) as roll:
        try:
            yield env
            env.barrier()  # nobody closes while another still talks
        except RuntimeError:  # torch's, for a process that has gone or does not answer
            print(
                f"{env}, ends with an error. Where the processes of this run were last:\n{roll.report()}",
                file=sys.stderr,
            )
            raise  # without closing: the others may sit in a collective, and closing waits for them
    dist.destroy_process_group()


def _warn_when_the_launcher_dies() -> None:
    """A killed torchrun leaves its processes behind: they then get SIGTERM, save and leave. Linux."""
    pr_set_pdeathsig = 1
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").prctl(pr_set_pdeathsig, signal.SIGTERM)


def leave() -> None:
    """Ends this process well, without taking the interpreter down.

    gloo's threads may still hold tensors then; one that wants the interpreter while it goes aborts the process:
    one of twenty runs of two processes ended that way (pytorch/pytorch PR 179291 describes it).
    """
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _memory_left() -> int:
    """Bytes of the machine that nobody uses, or of the control group that the process lives in. Linux."""
    lines = Path("/proc/meminfo").read_text().splitlines()
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    groups = [line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::/")]
    for group in groups:
        place = Path("/sys/fs/cgroup", group.removeprefix("0::/"))
        limits = [path / "memory.max" for path in (place, *place.parents) if (path / "memory.max").exists()]
        sizes += [int(text) for limit in limits if (text := limit.read_text().strip()) != "max"]
    return min(sizes)


def _keep_freed_memory() -> None:
    """Tell glibc to reuse big freed blocks instead of returning them to the kernel.

    A training step on the CPU frees and asks for the same activations again; by default each time a page fault for
    every 4 KiB (docs/log has the gain). Elsewhere than on glibc nothing happens.
    """
    m_trim_threshold, m_mmap_max = -1, -4
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(m_mmap_max, 0)
        libc.mallopt(m_trim_threshold, 2**31 - 1)
    except (OSError, AttributeError):
        return
