"""python -m benchmarks.scaling: the gain of more processes. Measured on this machine; predicted for 8 to 1,024 GPUs.

Measured: 1..N processes with a fixed number of images each: one for each GPU, or 2 on the CPU. On the CPU each has one
thread, so that one process and two can be compared; they share caches and memory, unlike GPUs. The processes of a case
are started anew in every round, in turn with the other cases. Steps with exchange and without (`no_sync`) alternate; an
all-reduce of the same bytes alone follows.

Predicted (--predict: nothing else): benchmarks/scaling_prediction.py, from a step of one GPU: the measured one on CUDA,
--step-ms if given, else that of an H200 at an assumed share of its peak. Nothing measured on a CPU goes into it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

from benchmarks import exchange
from benchmarks.scaling_prediction import print_predictions
from data.loading.batch import Batch
from launch.processes.agreement import Largest
from launch.processes.environment import CPU, Environment, connect, leave
from train.config import VOC_ANCHORS
from train.loss import LossConfig, build_loss
from train.model import YOLOv2
from train.schedule.learning_rate import ScheduleConfig
from train.stepping.config import StepConfig
from train.stepping.step import Step

CUDA = torch.cuda.is_available()
H200_FLOP_S, H200_SHARE = 989e12, 0.30  # dense bf16 according to NVIDIA; the share is assumed


class Clock:
    """Marks on the device's time line, or on the host's if it computes."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def mark(self) -> Any:
        if self.device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def between(self, first: Any, second: Any) -> float:
        """Seconds. Waits for the device."""
        if self.device.type != "cuda":
            return float(second - first)
        torch.cuda.synchronize()
        return float(first.elapsed_time(second)) / 1e3

    def time(self, work: Callable[[], Any], times: int = 1) -> float:
        """Median seconds. On a GPU five at a time, so that the host can run ahead."""
        at_once, found = 5 if self.device.type == "cuda" else 1, []
        for _ in range(times):
            first = self.mark()
            for _ in range(at_once):
                work()
            found.append(self.between(first, self.mark()) / at_once)
        return statistics.median(found)


class ReadyBuckets:
    """Records when in backward DDP releases each bucket for exchange."""

    def __init__(self, clock: Clock, wrapped: DistributedDataParallel) -> None:
        self.clock = clock
        self.began: Any = None
        self.marks: list[tuple[int, Any]] = []
        wrapped.register_forward_hook(self._begin)
        wrapped.register_comm_hook(None, self._note)

    def _begin(self, *_: object) -> None:
        self.began, self.marks = self.clock.mark(), []

    def _note(self, _: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        self.marks.append((4 * bucket.buffer().numel(), self.clock.mark()))
        return allreduce_hook(dist.group.WORLD, bucket)

    def last(self) -> list[tuple[int, float]]:
        """Bytes of each bucket, and when it was ready: a share of the time from the end of forward to the last one."""
        whole = self.clock.between(self.began, self.marks[-1][1])
        return [(size, self.clock.between(self.began, mark) / whole) for size, mark in self.marks]


def agree(largest: Largest) -> None:
    """Agrees as between two steps, with nothing that could hide it."""
    largest.send(0)
    largest.read()


def full_step(width: float, env: Environment) -> Step:
    anchors = list(zip(VOC_ANCHORS[::2], VOC_ANCHORS[1::2], strict=True))
    torch.manual_seed(0)
    return Step(StepConfig(), ScheduleConfig(), YOLOv2(width=width), build_loss(LossConfig(), anchors, 20), env)


def measure(env: Environment, side: int, images: int, width: float, steps: int) -> dict[str, Any]:
    """Times of this process, medians in seconds."""
    clock, step = Clock(env.device), full_step(width, env)
    pixels = torch.randint(0, 256, (images, side, side, 3), dtype=torch.uint8, device=env.device)
    truths = torch.full((images, 50, 5), 0.5, device=env.device)
    batch = Batch(pixels, truths, torch.arange(images), [], side)
    for _ in range(3):  # compiles; DDP rebuilds its buckets
        step(batch, 0)
    wrapped = step.objective
    if not isinstance(wrapped, DistributedDataParallel):
        return {"step_s": clock.time(lambda: step(batch, 0), steps), "buckets": []}
    exchanging, without = [], []
    for _ in range(steps):
        exchanging.append(clock.time(lambda: step(batch, 0)))
        with wrapped.no_sync():
            without.append(clock.time(lambda: step(batch, 0)))
    ready, seen = ReadyBuckets(clock, wrapped), []
    for _ in range(steps):
        step(batch, 0)
        seen.append(ready.last())
    buckets = [
        {"bytes": each[0][0], "ready": statistics.median(share for _, share in each)}
        for each in zip(*seen, strict=True)
    ]
    tensors = [torch.zeros(bucket["bytes"] // 4, device=env.device) for bucket in buckets]

    def exchange_alone() -> None:
        for tensor in tensors:
            dist.all_reduce(tensor)

    def settle_statistics() -> None:
        step._settle_statistics(torch.cat(step.statistics), torch.ones((), dtype=torch.bool, device=env.device))

    exchange_alone()
    largest = Largest(env)
    return {
        "step_s": statistics.median(exchanging),
        "step_without_exchange_s": statistics.median(without),
        "bytes": sum(bucket["bytes"] for bucket in buckets),
        "buckets": buckets,
        "exchange_alone_s": clock.time(exchange_alone, steps),
        "statistics_s": clock.time(settle_statistics, 5 * steps),
        "agreement_s": Clock(CPU).time(lambda: agree(largest), 20 * steps),
    }


def run_case(options: argparse.Namespace) -> None:
    with connect() as env:
        if not CUDA:
            torch.set_num_threads(1)
        every = env.gather(measure(env, options.side, options.images, options.width, options.steps))
        if env.rank == 0:  # all wait for the slowest
            slowest = max(every, key=lambda each: each["step_s"])
            options.out.write_text(json.dumps(slowest))
    leave()


def run_cases(options: argparse.Namespace, counts: list[int]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {count: [] for count in counts}
    sizes = [f"--{key}={getattr(options, key)}" for key in ("side", "images", "width", "steps")]
    threads = {} if CUDA else {"OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        for _ in range(options.rounds):
            for count in counts:
                start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
                command = [sys.executable, *start, "-m", "benchmarks.scaling", *sizes, f"--out={out}"]
                done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True)
                if done.returncode:
                    sys.exit(f"{count} processes ended with {done.returncode}:\n{done.stderr[-4000:]}")
                found[count].append(json.loads(out.read_text()))
    return found


def measured_table(found: dict[int, list[dict[str, Any]]], images: int) -> str:
    def median(count: int, key: str) -> float:
        return statistics.median(each[key] for each in found[count])

    lines = [f"{'processes':>9} {'images/s (least..most)':>24} {'efficiency':>10} {'ms/step':>8} {'without':>8}"]
    lines[0] += f" {'exchanged':>10} {'alone':>8} {'costs':>8} {'hidden':>7} {'statistics':>10} {'agreement':>10}"
    one = median(1, "step_s")
    for count, rounds in found.items():
        rates = [count * images / each["step_s"] for each in rounds]
        rate = count * images / median(count, "step_s")
        line = f"{count:>9} {f'{rate:.2f} ({min(rates):.2f}..{max(rates):.2f})':>24}"
        line += f" {one / median(count, 'step_s'):>10.1%} {1e3 * median(count, 'step_s'):>8.1f}"
        if count > 1:
            costs = statistics.median(each["step_s"] - each["step_without_exchange_s"] for each in rounds)
            alone = median(count, "exchange_alone_s")
            line += f" {1e3 * median(count, 'step_without_exchange_s'):>8.1f} {median(count, 'bytes') / 1e6:>7.1f} MB"
            hidden = f"{1 - costs / alone:.0%}" if costs < alone else "none"
            line += f" {1e3 * alone:>8.1f} {1e3 * costs:>8.1f} {hidden:>7}"
            line += f" {1e3 * median(count, 'statistics_s'):>10.2f} {1e3 * median(count, 'agreement_s'):>10.2f}"
        lines.append(line)
    lines.append("ms; without: the same step without exchange (no_sync); alone: an all-reduce of the same bytes and")
    lines.append(
        "nothing else; costs: with - without; hidden: the part of `alone` that a step does not pay; statistics:"
    )
    lines.append(
        "mean of batch norm's, and agreement: whether to stop, sent and read at once, each once a step and alone"
    )
    last = found[max(found)][-1]["buckets"]
    if last:
        parts = [f"{bucket['bytes'] / 1e6:.1f} MB at {bucket['ready']:.0%}" for bucket in last]
        lines.append(f"buckets, and when in backward they are ready: {', '.join(parts)}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=torch.cuda.device_count() if CUDA else 2, help="the most")
    parser.add_argument("--images", type=int, default=64 if CUDA else 2, help="per process")
    parser.add_argument("--side", type=int, default=416)
    parser.add_argument("--width", type=float, default=1.0, help="of the network")
    parser.add_argument("--steps", type=int, default=10 if CUDA else 4, help="timed in each round of a case")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--predict", action="store_true", help="predict only, measure nothing")
    parser.add_argument("--step-ms", type=float, help="step of one GPU with --predicted-images, to predict from")
    parser.add_argument("--predicted-images", type=int, default=64, help="on each GPU, with --step-ms")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.out:
        run_case(options)
        return
    found: dict[int, list[dict[str, Any]]] = {}
    if not options.predict:
        counts = sorted({2**n for n in range(options.processes.bit_length())} | {options.processes})
        found = run_cases(options, [count for count in counts if 0 < count <= options.processes])
        where = torch.cuda.get_device_name() if CUDA else "CPU, one thread for each process"
        print(
            f"MEASURED: {where}; {options.side} px, {options.images} images for each process, {options.rounds} rounds"
        )
        print(measured_table(found, options.images))
    with torch.device("meta"):
        model = YOLOv2(width=options.width)
    if options.step_ms:
        bases = [(options.predicted_images, options.step_ms / 1e3, "given")]
    elif CUDA and found:
        bases = [(options.images, statistics.median(each["step_s"] for each in found[1]), "measured above")]
    else:
        basis = f"an H200 at {H200_SHARE:.0%} of {H200_FLOP_S / 1e12:g} TFLOP/s"
        flop = 3 * exchange.forward_flop(model, options.side)
        bases = [(images, images * flop / (H200_SHARE * H200_FLOP_S), basis) for images in (64, 8)]
    predictions = print_predictions(bases, options.side, model)
    if options.json:
        options.json.write_text(json.dumps({"measured": found, "predicted": predictions}, indent=1) + "\n")


if __name__ == "__main__":
    main()
