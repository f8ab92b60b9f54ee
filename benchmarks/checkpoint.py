"""python -m benchmarks.checkpoint: what a checkpoint of the full network costs, and what kills during a save leave.

The first part trains on data in memory and saves now and then: how long the training thread waits for the copy, how
much slower steps are while the file is written, and what share of the time this is at the default interval.

The second kills a process by SIGKILL at random moments of a save, --kills times. Each time the newest checkpoint must
be whole, hold what was saved, and be the last one reported as written, or the one being written.
"""

import argparse
import os
import random
import signal
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch

from data.loading.batch import Batch
from launch.processes.environment import Environment, connect
from train.config import VOC_ANCHORS
from train.loss import LossConfig, build_loss
from train.model import ModelConfig, build_model
from train.run.checkpoint import Checkpoint, CheckpointConfig
from train.run.checkpoint_files import newest, read
from train.schedule.learning_rate import ScheduleConfig
from train.schedule.progress import Progress
from train.stepping.config import StepConfig
from train.stepping.step import Step


def small_or_full_step(width: float, env: Environment) -> Step:
    anchors = list(zip(VOC_ANCHORS[::2], VOC_ANCHORS[1::2], strict=True))
    model = build_model(ModelConfig(width=width), 20, len(anchors))
    return Step(StepConfig(), ScheduleConfig(), model, build_loss(LossConfig(), anchors, 20), env)


def stall(folder: Path, side: int, batch: int, saves: int, env: Environment) -> None:
    step, progress = small_or_full_step(1.0, env), Progress()
    images = torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8)
    data = Batch(images, torch.full((batch, 50, 5), 0.5), torch.arange(batch), [], side)

    def train_once() -> float:
        began = time.perf_counter()
        step(data, 0).total.item()
        return time.perf_counter() - began

    every = CheckpointConfig().every_images
    writer = Checkpoint(folder, CheckpointConfig(), env, {}, step=step, progress=progress)
    train_once()
    alone: list[float] = []
    beside: list[float] = []
    copies: list[float] = []
    written: list[float] = []
    for number in range(saves):
        alone += [train_once() for _ in range(3)]
        began = time.perf_counter()
        writer.save(number + 1)
        copies.append(time.perf_counter() - began)
        beside.append(0.0)
        while not list(folder.glob(f"{number + 1:09d}-*.pt")):
            beside[-1] += train_once() - statistics.median(alone)
        written.append(time.perf_counter() - began)
        writer.wait()
    one, lost = statistics.median(alone), statistics.median(copies) + max(statistics.median(beside), 0)
    size = sum(path.stat().st_size for path in folder.glob("*.pt")) / len(list(folder.glob("*.pt")))
    print(f"{side} px, batch {batch}, {saves} saves of {size / 1e6:.0f} MB; medians (least, most)")
    print(f"a step alone                       {_spread(alone)}")
    print(f"waiting for the copy               {_spread(copies)}")
    print(f"slower steps while writing         {_spread(beside)}")
    print(f"until the file is complete         {_spread(written)}, with the step under way")
    print(f"every {every:,} images: {100 * lost / (every / batch * one):.3f} % of the time")


def _spread(times: list[float]) -> str:
    return f"{statistics.median(times) * 1e3:7.0f} ms ({min(times) * 1e3:.0f}, {max(times) * 1e3:.0f})"


def kill_inside_saves(folder: Path, kills: int, chance: random.Random) -> None:
    torch.set_num_threads(1)
    step = small_or_full_step(0.25, Environment())
    inside, outside = 0, 0
    stages: Counter[str] = Counter()
    last = 0
    while inside < kills:
        told, tell = os.pipe()
        child = os.fork()  # imports take longer than a thousand saves
        if child == 0:
            save_for_ever(step, folder, last, tell)
        os.close(tell)
        with os.fdopen(told) as lines:
            lines.readline()
            began = time.monotonic()
            begun = ended = int(lines.readline().split()[1])  # the first save is not disturbed
            time.sleep(chance.uniform(0, 1.2 * (time.monotonic() - began)))
            os.kill(child, signal.SIGKILL)
            assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "the writer failed by itself"
            for line in lines.read().splitlines():
                word, number = line.split()
                begun, ended = (int(number), ended) if word == "begins" else (begun, int(number))
        path = newest(folder)
        assert path is not None, "no checkpoint is left"
        state = read(path)
        last = state["progress"]["images"]
        weights = next(iter(state["step"]["model"].values()))
        assert bool((weights == last).all()), "a checkpoint with another one's numbers"
        assert last in {ended, begun}, f"the newest is at {last}; {ended} had been reported as written"
        inside, outside = inside + (begun > ended), outside + (begun <= ended)
        if begun > ended:
            part = list(folder.glob("*.part"))
            stages["file half-written" if part else "file named" if last == begun else "before the file"] += 1
    print(f"{inside} kills during a save ({outside} more came between two): each left a whole checkpoint, none older")
    print("than the last one reported; " + ", ".join(f"{stage}: {number}" for stage, number in stages.items()))


def save_for_ever(step: Step, folder: Path, images: int, tell: int) -> None:
    progress = Progress(images)
    first = next(iter(step.model.state_dict().values()))
    writer = Checkpoint(folder, CheckpointConfig(), Environment(), {}, step=step, progress=progress).__enter__()
    while True:
        progress.images += 1
        first.fill_(progress.images)
        os.write(tell, f"begins {progress.images}\n".encode())
        writer.save(progress.images, best=progress.images % 3 == 0)
        writer.wait()
        os.write(tell, f"ended {progress.images}\n".encode())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checkpoint", description=__doc__)
    parser.add_argument("--side", type=int, default=416)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--saves", type=int, default=7)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="on the disk to measure")
    options = parser.parse_args()
    for part in ("stall", "kills"):
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            if part == "stall" and options.saves:
                with connect() as env:
                    stall(Path(folder), options.side, options.batch, options.saves, env)
            elif part == "kills":
                kill_inside_saves(Path(folder), options.kills, random.Random(0))


if __name__ == "__main__":
    main()
