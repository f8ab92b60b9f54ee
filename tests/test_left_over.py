"""A semaphore that tests leave behind is found."""

import multiprocessing
import signal
import subprocess
import sys

import pytest

from tests.conftest import SEMAPHORES, unused_semaphores


@pytest.mark.skipif(not SEMAPHORES.is_dir(), reason="needs semaphores that are files in /dev/shm")
def test_a_semaphore_of_a_killed_process_is_found_one_in_use_is_not() -> None:
    mine = multiprocessing.get_context("spawn").Semaphore()
    code = "import _multiprocessing as m, os, signal; m.SemLock(1, 1, 1, '/mp-left', False); os.kill(os.getpid(), 9)"
    ended = subprocess.run([sys.executable, "-c", code], check=False)
    try:
        assert ended.returncode == -signal.SIGKILL
        assert "sem.mp-left" in unused_semaphores()
        used = "sem." + mine._semlock.name[1:]  # type: ignore[attr-defined]
        assert (SEMAPHORES / used).exists() and used not in unused_semaphores()
    finally:
        (SEMAPHORES / "sem.mp-left").unlink()
