"""Workers and the server they come from outlive warnings, and nothing outlives the run."""

import os
import subprocess
import sys
from pathlib import Path

from data.shards.index import ShardIndex
from tests.conftest import ROOT

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
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, start_new_session=True)


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
