"""Whose failure it is, and that torchrun's last words are the cause."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from launch.processes.failure import is_of_another_process, tell_torchrun
from tests.conftest import ROOT

ONE_FAILS = """
import sys, time
from launch.command import run
from launch.processes.environment import connect, leave

def main(words):
    with connect() as env:
        env.barrier()
        if env.rank == 1:
            time.sleep(0.5)
            raise ValueError("the cause is here")
        env.barrier()

leave(run(main))
"""


def test_what_others_cause_is_told_apart() -> None:
    assert is_of_another_process(dist.DistNetworkError("timed out"))
    assert is_of_another_process(RuntimeError("[gloo/pair.cc:534] Connection closed by peer [127.0.0.1]"))
    with pytest.raises(RuntimeError) as found:
        torch.zeros(2) @ torch.zeros(3)
    assert not is_of_another_process(found.value)


def test_the_reason_is_left_for_torchrun(tmp_path: Path) -> None:
    tell_torchrun(None, "nobody asks")
    tell_torchrun(str(tmp_path / "new/error.json"), "why")
    assert json.loads((tmp_path / "new/error.json").read_text())["message"] == "why"
    (tmp_path / "file").touch()
    tell_torchrun(str(tmp_path / "file/error.json"), "why")


def test_the_cause_is_the_last_thing_printed(tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text(ONE_FAILS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, str(tmp_path / "fails.py")], env=environ, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 1 and "error: the cause is here" in done.stderr
    root = done.stderr.rpartition("Root Cause")[2]
    assert "rank      : 1" in root and "the cause is here" in root
    theirs = done.stderr.partition("Root Cause")[0]
    assert 'Traceback (most recent call last):\n  File "' + str(tmp_path) not in theirs
