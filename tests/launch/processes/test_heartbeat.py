"""What a process knows about the others when they no longer answer."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.distributed import HashStore, Store

import launch.processes.heartbeat
from launch.processes.environment import Environment
from launch.processes.heartbeat import Beat, Heartbeat, location
from tests.conftest import ROOT
from tests.servers import free_port


def store_of(beats: list[Beat | None]) -> Store:
    store = HashStore()
    for rank, beat in enumerate(beats):
        if beat:
            store.set(f"heartbeat/{rank}", json.dumps(beat))
    return store


def test_a_silent_process_is_named_before_those_that_wait_for_it() -> None:
    now = time.time()
    waits = Beat("n1", now, "train/loop.py:66 > launch/processes/stop.py:83")
    store = store_of([waits, waits._replace(host="n2"), Beat("n3", now - 100, "train/loop.py:68"), None])
    assert Heartbeat(store, 0, 4).report().splitlines() == [
        "  rank 2 on n3: silent for 100 s, last in train/loop.py:68",
        "  rank 3 never appeared",
        "  rank 0 on n1, 1 on n2: in train/loop.py:66 > launch/processes/stop.py:83",
    ]


def test_many_processes_are_few_lines() -> None:
    now = time.time()
    store = store_of(
        [Beat("n", now - 100 * (rank < 100), f"data/loading/loader.py:{rank % 200 // 100}") for rank in range(256)]
    )
    lines = Heartbeat(store, 0, 256).report().splitlines()
    assert len(lines) == 10 and lines[7] == "  and 93 more, silent too"
    assert lines[8].endswith("100 on n, 101 on n, 102 on n and 97 more: in data/loading/loader.py:1")


def test_a_store_that_does_not_answer_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.processes.heartbeat, "ANSWER_S", 0.2)
    monkeypatch.setattr(Heartbeat, "_read", lambda self, beats: time.sleep(30))
    assert "does not answer" in Heartbeat(HashStore(), 0, 2).report()


def test_a_location_is_the_calls_inside_this_program() -> None:
    assert location(sys._getframe()) == location(None) == "other code"
    assert re.fullmatch(
        r"launch/processes/environment\.py:\d+", Environment().on_rank_0(lambda: location(sys._getframe()))
    )


HANGS = """
import os, signal, sys, time
from datetime import timedelta
import torch.distributed.distributed_c10d as c10d
import launch.processes.heartbeat
from launch.processes.environment import connect
from launch.processes.stop import Stop
from pathlib import Path

launch.processes.heartbeat.EVERY_S, launch.processes.heartbeat.SILENT_S = 0.1, 4.0
with connect() as env:
    env.barrier()
    c10d._set_pg_timeout(timedelta(seconds=8))
    if env.rank == 1:
        print(os.getpid(), flush=True)
        time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGSTOP)
    Stop(Path("nowhere"), env).agreed()
"""


def test_a_process_that_hangs_is_named_with_its_host(tmp_path: Path) -> None:
    environ = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    environ |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HANGS],
            cwd=tmp_path,
            env={**environ, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        _, said = processes[0].communicate(timeout=100)
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    host = socket.gethostname()
    assert processes[0].returncode == 1
    assert f"rank 0 of 2 on {host}, cpu, started by torchrun, ends because another process is gone" in said
    assert f"rank 1 on {host}: silent for " in said
    assert f"rank 0 on {host}: in launch/processes/stop.py:" in said and "> launch/processes/environment.py:" in said
