"""python -m benchmarks.peers: our step against the plain loop of other trainers, on the same machine in the same run.

The same network from the same weights on the same images, decoded in memory: from there to the end of the step.
benchmarks/plain_loop.py is the other side. On a CPU both make their batches in the training process. On a GPU other
processes make them meanwhile, in page-locked memory that the step copies: the plain loop's workers as float tensors;
ours are uint8, the same batch each time.

Each case runs in its own process, in turn with the others, for several rounds. Its first loss is shown because it must
be the same on both sides in float32. CPU seconds are those of the training process, and hardly depend on other load.
Memory: on a GPU torch's peak allocation; on the CPU the peak resident memory above what the process held before.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.plain_loop import PlainLoop, PlainLoss, Sample, plain_batches
from data.loading.batch import Batch
from launch.processes.environment import Environment, connect
from train.config import VOC_ANCHORS
from train.loss import LossConfig, build_loss
from train.model import YOLOv2
from train.schedule.learning_rate import ScheduleConfig
from train.stepping.config import StepConfig
from train.stepping.step import Step

CUDA = torch.cuda.is_available()
ANCHORS = list(zip(VOC_ANCHORS[::2], VOC_ANCHORS[1::2], strict=True))
CLASSES, SLOTS = 20, 50
PLAIN = "plain loop, float32"
CASES: dict[str, dict[str, Any]] = {
    PLAIN: {"amp": False},
    "plain loop, AMP bf16, channels_last": {"amp": True},
    "ours, float32": {"precision": "fp32"},
    "ours, as it is by default": {},
}
if CUDA:  # elsewhere it is the default
    CASES["ours, not compiled"] = {"compile": "no"}
Work = Callable[[], Any]  # a step: its loss


def drawn_samples(count: int, side: int, num_classes: int = CLASSES) -> list[Sample]:
    """Noise; 1 to 9 objects, 2.5 on average, as in VOC."""
    rng = np.random.default_rng(0)
    samples: list[Sample] = []
    for _ in range(count):
        objects = []
        for _ in range(min(int(rng.geometric(0.4)), 9)):
            w, h = rng.uniform(0.05, 0.8, 2).tolist()
            cx, cy = (float(rng.uniform(size / 2, 1 - size / 2)) for size in (w, h))
            objects.append((cx, cy, w, h, int(rng.integers(num_classes))))
        samples.append((rng.integers(0, 256, (side, side, 3), dtype=np.uint8), objects))
    return samples


def batch_of(samples: Sequence[Sample]) -> Batch:
    truths = torch.zeros(len(samples), SLOTS, 5)
    truths[..., 4] = -1
    for number, (_, objects) in enumerate(samples):
        if objects:
            truths[number, : len(objects)] = torch.tensor(objects)
    images = torch.from_numpy(np.stack([image for image, _ in samples]))
    return Batch(images, truths, torch.arange(len(samples)), [], images.shape[1])


def plain(env: Environment, model: YOLOv2, samples: list[Sample], *, amp: bool) -> Work:
    loop = PlainLoop(model, PlainLoss(ANCHORS, CLASSES, LossConfig()), env.device, amp=amp)
    batches = plain_batches(samples, env.device)
    return lambda: sum(loop(*next(batches), 0))


def ours(env: Environment, model: YOLOv2, samples: list[Sample], **options: Any) -> Work:
    step = Step(StepConfig(**options), ScheduleConfig(), model, build_loss(LossConfig(), ANCHORS, CLASSES), env)
    if not CUDA:
        return lambda: step(batch_of(samples), 0).total
    batch = batch_of(samples)
    batch = batch._replace(images=batch.images.pin_memory(), truths=batch.truths.pin_memory())
    return lambda: step(batch, 0).total


def measure(case: str, side: int, batch: int, width: float, steps: int) -> dict[str, float]:
    options = CASES[case]
    is_plain = "amp" in options
    device = torch.device("cuda" if CUDA else "cpu")
    with nullcontext(Environment(device=device)) if is_plain else connect() as env:
        torch.manual_seed(0)
        model = YOLOv2(CLASSES, len(ANCHORS), width=width)
        samples = drawn_samples(batch, side)
        before = resident_bytes("VmRSS")
        work = (plain if is_plain else ours)(env, model, samples, **options)
        first = float(work())
        work()
        wait_for_the_device()
        began, busy = time.perf_counter(), time.process_time()
        for _ in range(steps):
            work()
        wait_for_the_device()
        seconds, busy = (time.perf_counter() - began) / steps, (time.process_time() - busy) / steps
    peak = torch.cuda.max_memory_allocated() if CUDA else resident_bytes("VmHWM") - before
    return {"images_s": batch / seconds, "cpu_s": busy / batch, "memory_mb": peak / 1e6, "first_loss": first}


def wait_for_the_device() -> None:
    if CUDA:
        torch.cuda.synchronize()


def resident_bytes(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def table(found: dict[str, list[dict[str, float]]]) -> str:
    def median(case: str, key: str) -> float:
        return statistics.median(each[key] for each in found[case])

    lines = [f"{'case':<38} {'images/s (least..most)':>25} {'times':>7} {'CPU s/image':>12} {'peak MB':>8} first loss"]
    for case, rounds in found.items():
        rates = [each["images_s"] for each in rounds]
        rate = f"{median(case, 'images_s'):.2f} ({min(rates):.2f}..{max(rates):.2f})"
        times = median(case, "images_s") / median(PLAIN, "images_s")
        memory, loss = median(case, "memory_mb"), median(case, "first_loss")
        lines.append(
            f"{case:<38} {rate:>25} {times:>6.2f}x {median(case, 'cpu_s'):>12.3f} {memory:>8.0f} {loss:>10.4f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--side", type=int, default=416)
    parser.add_argument("--batch", type=int, default=64 if CUDA else 4)
    parser.add_argument("--width", type=float, default=1.0, help="of the network")
    parser.add_argument("--steps", type=int, default=20 if CUDA else 3, help="timed in each round, after two untimed")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.case, options.side, options.batch, options.width, options.steps)))
        return
    found: dict[str, list[dict[str, float]]] = {case: [] for case in CASES}
    sizes = [f"--{key}={getattr(options, key)}" for key in ("side", "batch", "width", "steps")]
    for _ in range(options.rounds):
        for case, rounds in found.items():
            command = [sys.executable, "-m", "benchmarks.peers", *sizes, "--case", case]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            rounds.append(json.loads(done.stdout))
    where = torch.cuda.get_device_name() if CUDA else f"CPU, {torch.get_num_threads()} threads"
    print(
        f"{where}; {options.side} px, batch {options.batch}, {options.rounds} rounds of {options.steps} steps, medians"
    )
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
