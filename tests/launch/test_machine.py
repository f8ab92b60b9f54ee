"""What is asked of the machine: memory that is left, a signal when the parent dies."""

import os
import signal
import subprocess
import sys

from launch.machine import keep_freed_memory, memory_left
from tests.conftest import ROOT

ORPHAN = """
import os, signal, sys, time
from launch.machine import signal_when_the_parent_dies
signal_when_the_parent_dies(signal.SIGTERM)
signal.signal(signal.SIGTERM, lambda *_: (print("told", flush=True), os._exit(0)))
print(os.getpid(), flush=True)
time.sleep(60)
"""
PARENT = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', sys.argv[1]]); time.sleep(60)"


def test_memory_that_is_left_is_less_than_the_machine_has() -> None:
    assert 0 < memory_left() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_freed_memory_is_kept_without_an_error() -> None:
    keep_freed_memory()


def test_a_process_is_told_when_its_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, ORPHAN], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None and parent.stdout.readline().strip().isdecimal()
    parent.send_signal(signal.SIGKILL)
    assert parent.stdout.read() == "told\n"
    parent.wait()
