"""Jobs in processes: results in order, the first error ends it, and nobody is left behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from data.parallel import in_parallel
from tests.conftest import ROOT

BEATING = "import pathlib, time\nwhile True: pathlib.Path({path!r}).open('a').write('.'), time.sleep(0.02)"


@pytest.mark.parametrize("workers", [0, 1, 2, 9])
def test_results_come_in_the_order_of_the_jobs(workers: int) -> None:
    assert in_parallel(divmod, [(number, 3) for number in range(20)], workers, "dividing") == [
        divmod(number, 3) for number in range(20)
    ]


def test_nothing_to_do() -> None:
    assert in_parallel(divmod, [], 2, "dividing") == []


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_error_ends_it(workers: int) -> None:
    jobs = [("raise ValueError('the first')",), *[("import time; time.sleep(1)",)] * 100]
    start = time.monotonic()
    with pytest.raises(ValueError, match="the first"):
        in_parallel(exec, jobs, workers, "waiting")
    assert time.monotonic() - start < 30


def test_a_process_that_was_killed_is_not_waited_for() -> None:
    message = "dying: a process was killed, probably out of memory; try again with fewer than 2 --workers"
    with pytest.raises(ChildProcessError, match=message):
        in_parallel(os._exit, [(1,), (1,)], 2, "dying")


def test_ctrl_c_ends_it_however_many_jobs_there_are() -> None:
    """While futures of all jobs were waited for, it left their locks held, on which the pool's thread then waited."""
    code = (
        "from data.parallel import in_parallel; print('go', flush=True); in_parallel(abs, [(1,)] * 200_000, 2, 'idle')"
    )
    program = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert program.stdout is not None and program.stdout.readline() == "go\n"
        time.sleep(3)
        program.send_signal(signal.SIGINT)
        _, errors = program.communicate(timeout=20)
        assert errors.rstrip().endswith("KeyboardInterrupt")
    finally:
        program.kill()


def test_processes_end_with_a_program_that_is_killed(tmp_path: Path) -> None:
    """The parent is what would have told them."""
    files = [tmp_path / "one", tmp_path / "two"]
    jobs = [(BEATING.format(path=str(path)),) for path in files]
    code = f"from data.parallel import in_parallel; in_parallel(exec, {jobs!r}, 2, 'beating')"
    program = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not all(path.exists() for path in files) and time.monotonic() < deadline:
        time.sleep(0.05)
    program.send_signal(signal.SIGKILL)
    program.wait()
    time.sleep(1)
    sizes = [path.stat().st_size for path in files]
    time.sleep(0.5)
    assert min(sizes) > 0 and [path.stat().st_size for path in files] == sizes


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_program_is_gone_at_once(tmp_path: Path, sent: signal.Signals) -> None:
    """As from a terminal: the signal reaches the processes too, which are in the middle of long jobs."""
    files = [tmp_path / "one", tmp_path / "two"]
    jobs = [(BEATING.format(path=str(path)),) for path in files]
    code = "import sys; from launch.command import run; from data.parallel import in_parallel\n"
    code += f"sys.exit(run(lambda _: in_parallel(exec, {jobs!r}, 2, 'beating')))"
    program = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 60
    while not all(path.exists() for path in files) and time.monotonic() < deadline:
        time.sleep(0.05)
    start = time.monotonic()
    os.killpg(program.pid, sent)
    _, errors = program.communicate(timeout=60)
    assert time.monotonic() - start < 10 and (program.returncode, errors) == (130, "error: interrupted\n")
    time.sleep(0.5)
    sizes = [path.stat().st_size for path in files]
    time.sleep(0.3)
    assert [path.stat().st_size for path in files] == sizes


def test_a_handler_of_the_caller_has_the_last_word(tmp_path: Path) -> None:
    path = tmp_path / "one"
    code = "import signal, sys; from launch.command import Stopped, run; from data.parallel import in_parallel\n"
    code += "def stop(*_):\n    raise Stopped('stopped before the first step')\n"
    jobs = f"in_parallel(exec, [({BEATING.format(path=str(path))!r},)] * 2, 2, 'beating')"
    code += f"def main(_):\n    signal.signal(signal.SIGTERM, stop)\n    {jobs}\nsys.exit(run(main))"
    program = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    program.send_signal(signal.SIGTERM)
    _, errors = program.communicate(timeout=60)
    assert (program.returncode, errors) == (0, "stopped before the first step\n")
