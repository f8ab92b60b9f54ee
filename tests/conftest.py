"""Shared fixtures: reference values where they are at hand, a small sharded set, a way to start runs."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest
import torch

from data.shards.index import ShardIndex
from data.shards.writing.write import write_shards
from data.sources.shapes import draw_voc
from data.sources.voc import read_voc
from tests.data.pictures import black_images

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

for number, action in [(signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, None), (signal.SIGQUIT, None)]:
    if signal.getsignal(number) == signal.SIG_IGN:  # from a shell that started the tests in the background
        signal.signal(number, action or signal.SIG_DFL)

if "PYTEST_XDIST_WORKER" in os.environ:  # one worker for each core, and what it starts keeps to that core
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)


MARK = "PROCESS_OF_TESTS"  # what a test starts inherits it
os.environ.setdefault(MARK, str(uuid4()))
GONE_S = 30.0  # in which what a killed process has left behind ends by itself
left_over: list[str] = []


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Once for all workers: a process that is still there when all tests are over fails them."""
    if "PYTEST_XDIST_WORKER" in os.environ or exitstatus == pytest.ExitCode.INTERRUPTED:
        return
    end = time.monotonic() + GONE_S
    while (found := processes_of_tests()) and time.monotonic() < end:
        time.sleep(0.2)
    if found:
        left_over.extend(found)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for process in left_over:
        terminalreporter.write_line(f"a test left this process: {process}", red=True)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of this size, such as "1m", below the folder. Skips the test where nobody may mount one."""
    disk = folder / "small"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no right to mount a small disk: {mounted.stderr.decode().strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def processes_of_tests() -> list[str]:
    """All that tests have started, but for the servers of multiprocessing that end with this process."""
    mark, found = f"{MARK}={os.environ[MARK]}".encode(), dict[int, tuple[int, str]]()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                found[int(folder.name)] = parent, command
    mine = os.getpid()
    servers = {number for number, (parent, command) in found.items() if parent == mine and "multiproc" in command}
    return [
        f"{number} {command[:300]}"
        for number, (parent, command) in found.items()
        if number != mine and number not in servers and parent not in servers
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if "gpu" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference values and real images that are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip(f"no reference values at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VOCdevkit of 53 + 21 drawn pictures."""
    root = tmp_path_factory.mktemp("drawn")
    draw_voc(root, train=53, val=21, seed=1)
    return root


@pytest.fixture(scope="session")
def shards(drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `train` (several uneven shards) and `val` of the drawn pictures."""
    out = tmp_path_factory.mktemp("shards")
    for split in ("train", "val"):
        write_shards(read_voc(drawn, [f"2007:{split}"]), out / split, shard_mb=0.15, workers=1)
    return out


@pytest.fixture(scope="session")
def index(shards: Path) -> ShardIndex:
    return ShardIndex.load(shards / "train")


@pytest.fixture
def four_images(tmp_path: Path) -> ShardIndex:
    """Four images, six objects, four trained on."""
    return black_images(
        tmp_path,
        [
            (320, 160, [((10, 10, 42, 42), 0, ""), ((100, 20, 300, 120), 1, ""), ((0, 0, 320, 160), 1, "difficult")]),
            (160, 320, [((0, 0, 160, 320), 0, ""), ((5, 5, 9, 9), 0, "crowd")]),
            (320, 160, []),
            (320, 160, [((16, 96, 80, 160), 0, "")]),
        ],
    )


def launch(
    *arguments: str, processes: int = 1, check: bool = True, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """train/main.py as a user starts it: plain for one process, torchrun for more."""
    script = str(ROOT / "train" / "main.py")
    start = [sys.executable, script]
    if processes > 1:
        start = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(processes),
            script,
        ]
    done = subprocess.run(
        [*start, *arguments], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=timeout
    )
    if check and done.returncode:
        raise AssertionError(f"exit {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-5000:]}")
    return done


class Weights:
    """What a checkpoint holds of a step when there are only weights: saved, never loaded."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model

    def state_dict(self) -> dict[str, object]:
        return {"model": self.model.state_dict()}

    def load_state_dict(self, state: object) -> None:
        raise NotImplementedError
