"""Workers and the server they come from outlive warnings, and nothing outlives the run."""

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data.loading.handover.workers import answers_of
from data.shards.index import ShardIndex
from tests.conftest import ROOT
from tests.data.remote.transports.test_command import gone_within

FAILING_RUN = """
import sys
from pathlib import Path
import torch
from data.loading.config import DataConfig
from data.loading.loader import Loader
from data.shards.index import ShardIndex

if __name__ == "__main__":
    config = DataConfig(train="", val="", batch=4, sides=[32], workers=1)
    index, device = ShardIndex.load(Path(sys.argv[1])), torch.device("cpu")
    batches = Loader(index, config, seed=0, rank=0, world_size=1, device=device).evaluation_batches(32, 4)
    next(batches)
"""


def run(script: str, shards: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    """In a session of its own; from a file, as a fork server wants it."""
    path = folder / "run.py"
    path.write_text(script)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(path), str(shards)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=280, start_new_session=True)


def test_a_run_that_fails_says_why_and_ends_though_its_worker_waits(
    copy: Path, index: ShardIndex, tmp_path: Path
) -> None:
    path, start = copy / index.shards[0].name, int(index.arrays["image_offsets"][0])
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(int(index.arrays["image_bytes"][0])))
    done = run(FAILING_RUN, copy, tmp_path)
    assert done.returncode == 1
    assert f"cannot evaluate: {index.shards[0].name}/{index.key(0)}: neither JPEG" in done.stderr


WARNED_RUN = """
import os, signal, sys
from multiprocessing import forkserver
from pathlib import Path
import torch
from data.loading.config import DataConfig
from data.loading.loader import Loader
from data.shards.index import ShardIndex

if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, lambda *_: None)
    config = DataConfig(train="", val="", batch=4, sides=[32], workers=1)
    index, device = ShardIndex.load(Path(sys.argv[1])), torch.device("cpu")
    loader = Loader(index, config, seed=0, rank=0, world_size=1, device=device)
    batches = loader.batches(0, 10**9)
    next(batches)
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        os.kill(forkserver._forkserver._forkserver_pid, number)
        os.killpg(0, number)
    for _ in range(20):
        next(batches)
    print(sum(len(batch.samples) for batch in loader.evaluation_batches(32, 4)), flush=True)
"""


def test_warnings_that_go_to_every_process_end_no_worker_and_not_their_server(
    index: ShardIndex, tmp_path: Path
) -> None:
    done = run(WARNED_RUN, index.folder, tmp_path)
    assert done.stdout == f"{index.num_samples}\n", done.stderr[-2000:]
    assert "Traceback" not in done.stderr


KILLED_RUN = """
import multiprocessing, os, signal, sys, time
from multiprocessing import forkserver
from pathlib import Path
import torch
from data.loading.config import DataConfig
from data.loading.loader import Loader
from data.shards.index import ShardIndex

if __name__ == "__main__":
    config = DataConfig(train="", val="", batch=4, sides=[32], workers=2)
    index, device = ShardIndex.load(Path(sys.argv[1])), torch.device("cpu")
    batches = Loader(index, config, seed=0, rank=0, world_size=1, device=device).batches(0, 10**9)
    next(batches)
    children = [child.pid for child in multiprocessing.active_children()]
    print(forkserver._forkserver._forkserver_pid, *children, flush=True)
    if len(sys.argv) > 2:
        os.kill(children[0], getattr(signal, sys.argv[2]))
    for _ in range(1000):
        next(batches)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGQUIT, signal.SIGABRT, signal.SIGXCPU])
def test_no_process_outlives_the_run(index: ShardIndex, tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "run.py").write_text(KILLED_RUN)
    command = [sys.executable, str(tmp_path / "run.py"), str(index.folder)]
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    numbers = [int(word) for word in process.stdout.readline().split()]
    assert len(numbers) == 3
    process.send_signal(number)
    process.wait(20)
    process.stdout.close()
    assert gone_within(10, *numbers)


def test_a_worker_that_is_killed_ends_the_run_with_what_to_do(index: ShardIndex, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(KILLED_RUN)
    command = [sys.executable, str(tmp_path / "run.py"), str(index.folder), "SIGKILL"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "ChildProcessError: a loader process was killed, by a user or out of memory" in done.stderr


STOPPED_RUN = """
import os, signal, sys
from multiprocessing import forkserver
from pathlib import Path
import torch
from data.loading.config import DataConfig
from data.loading.loader import Loader
from data.shards.index import ShardIndex

if __name__ == "__main__":
    config = DataConfig(train="", val="", batch=4, sides=[32], workers=1)
    index, device = ShardIndex.load(Path(sys.argv[1])), torch.device("cpu")
    loader = Loader(index, config, seed=0, rank=0, world_size=1, device=device)
    batches = loader.batches(0, 10**9)
    next(batches)
    os.kill(forkserver._forkserver._forkserver_pid, signal.SIGSTOP)
    next(batches)
    print(list(loader.evaluation_batches(32, 4, lambda: True)), forkserver._forkserver._forkserver_pid, flush=True)
"""


def test_a_server_that_stands_still_keeps_nobody(index: ShardIndex, tmp_path: Path) -> None:
    """Neither at the start of more workers nor at the end; and it is gone then."""
    done = run(STOPPED_RUN, index.folder, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    workers, _, server = done.stdout.rpartition(" ")
    assert workers == "[]" and gone_within(10, int(server))


UNTRACKED_RUN = """
import os, signal, sys
from multiprocessing import resource_tracker
from pathlib import Path
import torch
from data.loading.config import DataConfig
from data.loading.loader import Loader
from data.shards.index import ShardIndex

if __name__ == "__main__":
    config = DataConfig(train="", val="", batch=4, sides=[32], workers=1)
    index, device = ShardIndex.load(Path(sys.argv[1])), torch.device("cpu")
    loader = Loader(index, config, seed=0, rank=0, world_size=1, device=device)
    batches = loader.batches(0, 10**9)
    for way in range(2):
        next(batches)
        evaluated = loader.evaluation_batches(32, 4)
        next(evaluated)
        if way == 0:
            os.kill(resource_tracker._resource_tracker._pid, signal.SIGKILL)
            os.waitid(os.P_PID, resource_tracker._resource_tracker._pid, os.WEXITED | os.WNOWAIT)
        print(1 + len(list(evaluated)), flush=True)
"""


def test_a_tracker_of_semaphores_that_is_killed_ends_nothing_and_says_nothing(
    index: ShardIndex, tmp_path: Path
) -> None:
    done = run(UNTRACKED_RUN, index.folder, tmp_path)
    assert done.stdout == f"{-(-index.num_samples // 4)}\n" * 2, done.stderr[-2000:]
    assert (done.returncode, done.stderr) == (0, "")


class Failing:
    """A loader whose processes cannot start."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __iter__(self) -> Iterator[int]:
        raise OSError(self._number, os.strerror(self._number))


def test_a_machine_that_cannot_start_workers_is_named() -> None:
    with pytest.raises(ValueError, match=r"room and rights in /dev/shm .* found: .*No space left .*data.workers=0"):
        next(answers_of(Failing(errno.ENOSPC), 1))


def test_a_limit_of_open_files_is_not_taken_for_a_full_dev_shm() -> None:
    with pytest.raises(OSError, match=r"Too many open files$"):
        next(answers_of(Failing(errno.EMFILE), 1))


LEAVING_NOTHING = FAILING_RUN.replace("workers=1", "workers=2").replace(
    "    next(batches)\n",
    """    for _ in range(2):  # one of each worker
        next(batches)
    opened = {line.split(maxsplit=5)[5] for line in open("/proc/self/maps") if "/dev/shm/sem." in line}
    print(sorted({name.endswith(" (deleted)") for name in map(str.strip, opened)}))
    print(sum(1 for _ in batches) > 0)
""",
)


def test_semaphores_have_no_files_that_a_killed_job_would_leave(shards: Path, tmp_path: Path) -> None:
    done = run(LEAVING_NOTHING, shards / "train", tmp_path)
    assert done.stdout == "[True]\nTrue\n" and "semaphore" not in done.stderr


class Slow:
    """Makes a semaphore for its workers, as DataLoader does, and takes its time to start them."""

    def __init__(self) -> None:
        self.kept: list[bool] = []

    def __iter__(self) -> Iterator[str]:
        self.lock = multiprocessing.get_context("forkserver").Lock()
        name = self.lock._semlock.name.removeprefix("/")  # type: ignore[attr-defined]
        time.sleep(0.5)
        self.kept.append(Path(f"/dev/shm/sem.{name}").exists())
        return iter(["an answer"])


def test_loaders_that_start_at_once_remove_their_own_semaphores_only() -> None:
    loaders = Slow(), Slow()
    with ThreadPoolExecutor(2) as threads:
        for number, loader in enumerate(loaders):
            threads.submit(list, answers_of(loader, 1))
            time.sleep(0.3 * (1 - number))
    assert [loader.kept for loader in loaders] == [[True], [True]]
