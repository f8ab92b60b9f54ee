"""What is asked of the machine: memory that is left, a signal when the parent dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.processes import machine
from launch.processes.machine import keep_freed_memory, memory_left
from tests.conftest import ROOT

ORPHAN = """
import os, signal, sys, time
import pytest

from launch.processes import machine
from launch.processes.machine import signal_when_the_parent_dies
signal_when_the_parent_dies(signal.SIGTERM)
signal.signal(signal.SIGTERM, lambda *_: (print("told", flush=True), os._exit(0)))
print(os.getpid(), flush=True)
time.sleep(60)
"""
PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', sys.argv[1]]); time.sleep(60)"


def test_memory_that_is_left_is_less_than_the_machine_has() -> None:
    assert 0 < memory_left() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("line", "limit"),
    [
        ("0::/job", "job/memory.max"),
        ("0::/job/step", "job/memory.max"),
        ("4:memory:/job", "memory/job/memory.limit_in_bytes"),
        ("4:cpu,memory:/elsewhere", "memory/memory.limit_in_bytes"),
    ],
)
def test_the_limit_of_a_control_group_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, limit: str
) -> None:
    """Limits of both versions, and of the groups above: a container sees its own limit at the root."""
    (tmp_path / limit).parent.mkdir(parents=True)
    (tmp_path / limit).write_text("12345678\n")
    (tmp_path / "cgroup").write_text(f"3:cpu:/job\n{line}\n")
    monkeypatch.setattr(
        machine, "GROUPS", ((str(tmp_path), "memory.max"), (str(tmp_path / "memory"), "memory.limit_in_bytes"))
    )
    monkeypatch.setattr(machine, "OWN_GROUPS", tmp_path / "cgroup")
    assert memory_left() == 12345678


def test_the_limit_of_the_address_space_counts() -> None:
    script = (
        "import resource, launch.processes.machine as m; resource.setrlimit(resource.RLIMIT_AS, (2**32, -1)); "
        "print(m.memory_left() < 2**32 - 2**22)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT).stdout == "True\n"


def test_freed_memory_is_kept_without_an_error() -> None:
    keep_freed_memory()


def test_a_process_is_told_when_its_parent_is_killed() -> None:
    command = [sys.executable, "-c", PARENT, ORPHAN]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None and parent.stdout.readline().strip().isdecimal()
        parent.send_signal(signal.SIGKILL)
        assert parent.stdout.read() == "told\n"


LATE = """
import os, pathlib, signal, time
from launch.interrupt import STARTED_BY
from launch.processes.machine import signal_when_the_parent_dies

signal.signal(signal.SIGTERM, lambda *_: pathlib.Path("told").touch())
pathlib.Path("begun").touch()
while os.getppid() == STARTED_BY:
    time.sleep(0.01)
signal_when_the_parent_dies(signal.SIGTERM)
pathlib.Path("over").touch()
"""


def test_a_process_whose_parent_died_meanwhile_is_told(tmp_path: Path) -> None:
    start = '"$0" -c "$1" & until [ -e begun ]; do sleep 0.05; done'
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(["bash", "-c", start, sys.executable, LATE], cwd=tmp_path, env=environ, check=True, timeout=60)
    deadline = time.monotonic() + 20
    while not (tmp_path / "over").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "told").exists()
