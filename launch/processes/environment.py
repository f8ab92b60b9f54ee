"""The process environment as one value: rank, world size, device. The only reader of os.environ."""

import atexit
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import NoReturn, TypeVar, cast

import torch
import torch.distributed as dist

from launch.processes.aside import Aside
from launch.processes.failure import is_of_another_process, tell_torchrun
from launch.processes.heartbeat import Heartbeat
from launch.processes.machine import keep_freed_memory, memory_left, signal_when_the_parent_dies
from launch.processes.rendezvous import ALONE, meet, place_by_hand, place_of_step, store_of_torchrun

T = TypeVar("T")
CPU = torch.device("cpu")
TIMEOUT = timedelta(minutes=10)  # for a process that does not answer


@dataclass(frozen=True, slots=True)
class Environment:
    """One process of a run. In a run of one process the collective methods return their argument."""

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
        """The largest number of any process. All processes must call it at the same place."""
        if self.world_size == 1:
            return number
        largest = torch.tensor([number])
        dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest.item())

    def gather(self, value: T) -> list[T]:
        """The values of all processes, in rank order, on rank 0; an empty list elsewhere."""
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

    def on_rank_0(self, work: Callable[[], T]) -> T:
        """Runs `work` on rank 0; returns its result on all. It may outlast the timeout: all meet once a second."""
        if self.world_size == 1:
            return work()
        if self.rank:
            while self.any(False):
                pass
            return self.broadcast(cast(T, None))
        with Aside(work) as aside:
            while self.any(not aside.is_over()):
                pass
            return self.broadcast(aside.result())

    def say(self, text: str) -> None:
        """Prints a line on stderr, once for all processes."""
        if self.rank == 0:
            print(text, file=sys.stderr, flush=True)

    def memory(self) -> int:
        """Bytes that each process may use: free on its GPU, or its share of the memory left; the least of all."""
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            mine = free + torch.cuda.memory_reserved(self.device)
        else:
            hosts = self.broadcast(self.gather(socket.gethostname()))
            mine = memory_left() // hosts.count(socket.gethostname())
        return self.broadcast(min(self.gather(mine), default=0))

    def barrier(self) -> None:
        """Waits until all processes call it."""
        if self.world_size > 1:
            dist.all_reduce(torch.zeros(1))  # on the host: needs no device and keeps none busy


def detect(environ: Mapping[str, str], gpus: int) -> Environment:
    """The environment, from the launcher's variables; empty ones count as unset. gpus: how many it sees. Pure."""
    if environ.get("RANK") or environ.get("WORLD_SIZE"):
        rank, world_size = _numbers(environ, "RANK", "WORLD_SIZE")
        (local_rank,) = _numbers({"LOCAL_RANK": "0", **environ}, "LOCAL_RANK")
        launcher, bound = "torchrun", False
    elif environ.get("SLURM_STEP_NUM_TASKS", "1") not in ("", "1"):
        rank, world_size, local_rank = _numbers(
            environ, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID", remedy=ALONE
        )
        launcher, bound = "srun", gpus == 1  # srun --gpus-per-task=1: each task sees its own as the first
    else:
        return Environment(device=_device(0, gpus))
    if rank >= world_size:
        raise ValueError(f"process {rank} of {world_size}: expected a rank below the number of processes")
    return Environment(rank, world_size, local_rank, _device(0 if bound else local_rank, gpus), launcher)


def _numbers(environ: Mapping[str, str], *names: str, remedy: str = "start with torchrun, or unset them") -> list[int]:
    for name in names:
        if not environ.get(name, "").isdecimal():
            given = ", ".join(f"{each}={environ.get(each, '(not set)')}" for each in names)
            raise ValueError(f"{name}: expected a number, as its launcher sets it, found {given}; {remedy}")
    return [int(environ[name]) for name in names]


def _device(number: int, gpus: int) -> torch.device:
    if gpus and number >= gpus:
        raise ValueError(
            f"process {number + 1} of {socket.gethostname()} sees {gpus} GPU{'s' * (gpus > 1)}; expected one for each "
            f"process: start {gpus} (torchrun --nproc-per-node {gpus}, srun --ntasks-per-node={gpus})"
        )
    return torch.device("cuda", number) if gpus else CPU


@contextmanager
def connect() -> Iterator[Environment]:
    """The environment, with an open process group if there is more than one process."""
    env = detect(os.environ, torch.cuda.device_count())
    if env.device.type == "cuda":
        torch.cuda.set_device(env.device)
    else:
        keep_freed_memory()
    if env.world_size == 1:
        yield env
        return
    signal_when_the_parent_dies(signal.SIGTERM)
    backend = "cpu:gloo,cuda:nccl" if env.device.type == "cuda" else "gloo"  # host data never waits for the device
    store = _store(env)
    dist.init_process_group(backend, store=store, rank=env.rank, world_size=env.world_size, timeout=TIMEOUT)
    with Heartbeat(store, env.rank, env.world_size) as heartbeat:
        try:
            yield env
            env.barrier()  # no process closes the group while another still uses it
        # after an error it is not closed: the others may be in a collective, and closing waits for them
        except RuntimeError as error:
            if not is_of_another_process(error):
                raise
            raise ConnectionError(
                f"{env}, ends because another process is gone or does not answer. Last seen:\n{heartbeat.report()}"
            ) from error
        except Exception as error:
            tell_torchrun(os.environ.get("TORCHELASTIC_ERROR_FILE"), str(error) or type(error).__name__)
            raise
    dist.destroy_process_group()


def _store(env: Environment) -> dist.Store:  # type: ignore[name-defined]
    """The store through which processes exchange their addresses."""
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":  # torchrun serves it
        return store_of_torchrun(TIMEOUT)
    place = place_of_step(os.environ) if env.launcher == "srun" else place_by_hand(os.environ)
    return meet(place, env.rank, env.world_size, TIMEOUT)


def leave(status: int = 0) -> NoReturn:
    """Ends this process without shutting down the interpreter.

    gloo's threads may still hold tensors; one that needs the interpreter during its shutdown aborts the process:
    one in twenty runs of two processes ended that way (pytorch/pytorch PR 179291 describes it).
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(status)
