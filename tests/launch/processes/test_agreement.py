"""The largest number of all: sent beside work, read later, the same on all; and nobody waits without end."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

import launch.processes.agreement
import launch.processes.environment
from launch.processes.agreement import wait_for, wait_for_device
from launch.processes.failure import is_of_another_process
from tests.conftest import ROOT
from tests.servers import free_port

TWO = """
import time
import torch
import torch.distributed as dist
from launch.processes.agreement import Largest
from launch.processes.environment import connect, leave

with connect() as env:
    largest, found, sent_s = Largest(env), [], []
    for number in range(200):
        began = time.perf_counter()
        largest.send(7 * number % 5 if env.rank == number % 2 else 0)
        sent_s.append(time.perf_counter() - began)
        if env.rank and number == 100:
            time.sleep(0.5)
        for size in (100_000, 10):  # other exchanges of a step, under way at the same time
            values = torch.full((size,), env.rank + 1.0)
            dist.all_reduce(values)
            assert (values == 3).all()
        found.append(largest.read())
    assert found == [7 * number % 5 for number in range(200)]
    assert sorted(sent_s)[100] < 0.02 and not largest.under_way
    largest.send(1)  # never read: ends with the group
    if env.rank:
        print("all there")
leave()
"""


def test_two_processes_read_the_same_beside_other_exchanges(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(TWO)
    environ = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    environ |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, str(tmp_path / "two.py")],
            env={**environ, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for rank, process in enumerate(processes):
        said, errors = process.communicate(timeout=100)
        assert process.returncode == 0, errors
        assert said == "all there\n" * rank


class Event:
    """Event of a device that gets there after so many looks, or never."""

    def __init__(self, looks: float) -> None:
        self.looks = looks

    def query(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def test_the_device_is_waited_for_in_short_looks() -> None:
    event = Event(50)
    began = time.monotonic()
    wait_for(event)  # type: ignore[arg-type]
    assert event.looks == -1 and time.monotonic() - began < 5
    wait_for_device(torch.device("cpu"))


def test_a_device_that_waits_for_a_process_that_hangs_is_an_error_of_that_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.processes.agreement, "PATIENCE_S", 0.1)
    with pytest.raises(dist.DistError, match="waited for another process for 0 s") as found:
        wait_for(Event(float("inf")))  # type: ignore[arg-type]
    assert is_of_another_process(found.value)


@pytest.mark.gpu
def test_a_number_comes_back_from_the_device_while_it_is_busy() -> None:
    """One process, NCCL: the number does not queue behind what the device was given before."""
    device = torch.device("cuda", 0)
    dist.init_process_group("cpu:gloo,cuda:nccl", store=dist.HashStore(), rank=0, world_size=1)
    try:
        largest = launch.processes.agreement.Largest(
            launch.processes.environment.Environment(world_size=2, device=device)
        )
        matrix = torch.randn(8192, 8192, device=device)
        for number in range(5):
            largest.send(number)  # the first one builds the communicator
            assert largest.read() == number
        for _ in range(200):
            matrix @ matrix
        largest.send(9)
        assert largest.read() == 9 and not torch.cuda.current_stream(device).query()
    finally:
        dist.destroy_process_group()
