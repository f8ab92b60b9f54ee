"""python -m benchmarks.chaos [--kills 50]: runs that are killed at random end with the weights of one that was not.

A small run of two processes is started again and again; at random moments (start, warm-up, training, saving,
evaluation) one of its processes, or torchrun itself, gets SIGKILL, SIGTERM or SIGSTOP. What is left of an attempt is
then killed as a batch system does, and the same command started. Each run that ends is compared bit for bit with the
undisturbed one: weights, statistics, momenta. An image that is lost, or seen twice, would change them.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data.shapes import draw_voc
from data.voc import read_voc
from data.write import write_shards
from train.checkpoint import newest, read

MAIN = Path(__file__).resolve().parents[1] / "train/main.py"
HANG_S = 180  # an attempt that takes longer has lost its way
STOPPED_S = 2  # how long SIGSTOP holds a process


def config(folder: Path) -> Path:
    path = folder / "chaos.yaml"
    path.write_text(
        f"""
        epochs: 20
        data: {{train: {folder}/train, val: {folder}/val, batch: 8, sides: [64, 96], workers: 1}}
        model: {{width: 0.0625, bn_momentum: 0.1}}
        step: {{precision: fp32}}
        schedule: {{rate: 1.0e-3, burn_in_images: 100, drop_images: [800]}}
        evaluate: {{side: 96, batch: 4}}
        checkpoint: {{every_images: 24}}
        board: {{every_batches: 3}}
        """
    )
    return path


def start(path: Path, run: Path, processes: int) -> "subprocess.Popen[bytes]":
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    with (run.parent / f"{run.name}.log").open("ab") as log:
        command = [*torchrun, str(MAIN), str(path), f"run={run}"]
        return subprocess.Popen(command, start_new_session=True, stdout=log, stderr=subprocess.STDOUT)


def workers_of(agent: int) -> list[int]:
    """The training processes that torchrun started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == agent:
                found.append(int(path.parent.name))
        except (OSError, IndexError):
            continue
    return found


def sweep(session: int) -> int:
    """Kills what an attempt left behind, as a batch system does; how many processes that were."""
    left = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] != "Z":
                os.kill(int(path.parent.name), signal.SIGKILL)
                left += 1
        except (OSError, IndexError):
            continue
    return left


def disturb(agent: "subprocess.Popen[bytes]", chance: random.Random) -> str:
    """One blow; what it was."""
    kind = chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
    workers = workers_of(agent.pid)
    whom = chance.choice(["worker", "torchrun"]) if workers else "torchrun"
    target = chance.choice(workers) if whom == "worker" else agent.pid
    try:
        os.kill(target, kind)
        if kind == signal.SIGSTOP:
            time.sleep(STOPPED_S)
            os.kill(target, signal.SIGCONT)
    except ProcessLookupError:
        return "too late"
    return f"{kind.name} to {whom}"


def state_of(run: Path) -> dict[str, torch.Tensor]:
    path = newest(run / "checkpoints")
    assert path is not None, f"{run} has no checkpoint"
    step = read(path)["step"]
    momenta = {f"momentum {k}": v["momentum_buffer"] for k, v in step["optimizer"]["state"].items()}
    return {"images": torch.tensor(int(path.name.split("-")[0])), **step["model"], **momenta}


def twice_logged(run: Path) -> list[str]:
    """Tags of TensorBoard with two values at one position."""
    events = EventAccumulator(str(run / "board"), size_guidance={"scalars": 0})
    events.Reload()
    steps = {tag: [point.step for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    return [tag for tag, points in steps.items() if len(points) != len(set(points))]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    blows: Counter[str] = Counter()
    attempts, runs, bad = 0, 0, []
    lost_s, left_over = 0.0, 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        draw_voc(folder / "drawn", train=53, val=21, seed=1)
        for split in ("train", "val"):
            write_shards(read_voc(folder / "drawn", [f"2007:{split}"]), folder / split, shard_mb=0.15)
        path = config(folder)
        began = time.monotonic()
        assert start(path, folder / "undisturbed", options.processes).wait(HANG_S * 4) == 0
        undisturbed_s = time.monotonic() - began
        expected = state_of(folder / "undisturbed")
        print(f"undisturbed: {undisturbed_s:.0f} s, {int(expected['images'])} images", flush=True)
        while sum(blows.values()) < options.kills:
            run = folder / f"run{runs}"
            runs += 1
            began, needed = time.monotonic(), 0
            while not (run / "finished").exists():
                agent = start(path, run, options.processes)
                attempts, needed = attempts + 1, needed + 1
                try:
                    if sum(blows.values()) < options.kills:
                        agent.wait(chance.uniform(0, 1.2 * undisturbed_s))
                except subprocess.TimeoutExpired:
                    what = disturb(agent, chance)
                    blows[what] += 1
                    print(f"run {runs}, attempt {needed}: {what}", flush=True)
                try:
                    agent.wait(HANG_S)
                except subprocess.TimeoutExpired:
                    bad.append(f"run {runs}, attempt {needed} did not end in {HANG_S} s")
                left_over += sweep(agent.pid)
                if needed > 40:
                    bad.append(f"run {runs} did not end in {needed} attempts")
                    break
            lost_s += time.monotonic() - began - undisturbed_s
            found = state_of(run)
            differing = [name for name in expected if not torch.equal(expected[name], found[name])]
            bad += [f"run {runs}: {len(differing)} tensors differ, such as {differing[0]}"] if differing else []
            bad += [f"run {runs}: logged twice: {', '.join(twice)}" for twice in [twice_logged(run)] if twice]
    total = sum(blows.values())
    print(f"\n{total} blows, {attempts} attempts, {runs} runs, {left_over} processes left over after attempts")
    for what, number in sorted(blows.items()):
        print(f"  {what:<24} {number:>4}")
    print(f"time lost for each blow: {lost_s / max(total, 1):.1f} s")
    print(
        "\n".join(bad) or "every run ended with the bits of the undisturbed one, and one value at each logged position"
    )
    if options.json:
        options.json.write_text(json.dumps({"blows": blows, "attempts": attempts, "runs": runs, "bad": bad}, indent=1))
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
