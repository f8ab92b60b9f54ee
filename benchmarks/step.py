"""python -m benchmarks.step: images/s of the training step of the full network, data already in memory.

Each case is timed in a process of its own, in turn with the others, several rounds: compare medians of one run.
"""

import argparse
import statistics
import subprocess
import sys
import time

CASES = {
    "bf16": ["bf16"],
    "bf16, freed memory returned to the kernel": ["bf16", "default-malloc"],
    "fp32": ["fp32"],
}


def seconds_per_image(precision: str, side: int, batch: int, steps: int, keep_memory: bool) -> float:
    import torch

    from data.sample import Batch
    from launch.environment import Environment, connect
    from train.config import VOC_ANCHORS
    from train.loss import LossConfig, build_loss
    from train.model import YOLOv2
    from train.schedule import ScheduleConfig
    from train.step import Step, StepConfig

    def run(env: Environment) -> float:
        anchors = list(zip(VOC_ANCHORS[::2], VOC_ANCHORS[1::2], strict=True))
        config = StepConfig(precision=precision)  # type: ignore[arg-type]
        step = Step(config, ScheduleConfig(), YOLOv2(), build_loss(LossConfig(), anchors, 20), env)
        truths = torch.full((batch, 50, 5), 0.5)
        images = torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8)
        data = Batch(images, truths, torch.arange(batch), [], side)
        times = []
        for _ in range(steps + 1):
            began = time.perf_counter()
            step(data, 0).total.item()
            times.append(time.perf_counter() - began)
        return statistics.median(times[1:]) / batch

    if not keep_memory:
        return run(Environment())
    with connect() as env:
        return run(env)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__)
    parser.add_argument("--side", type=int, default=416)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        keep = "default-malloc" not in options.case
        print(seconds_per_image(options.case[0], options.side, options.batch, options.steps, keep))
        return
    times: dict[str, list[float]] = {name: [] for name in CASES}
    for _ in range(options.rounds):
        for name, case in CASES.items():
            sizes = [f"--{key}={getattr(options, key)}" for key in ("side", "batch", "steps")]
            command = [sys.executable, "-m", "benchmarks.step", *sizes, "--case", *case]
            times[name].append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    base = statistics.median(times["bf16"])
    print(f"{options.side} px, batch {options.batch}, median (least, most) of {options.rounds} rounds")
    for name, found in times.items():
        middle = statistics.median(found)
        print(
            f"{name:<45} {1 / middle:6.2f} images/s ({1 / max(found):.2f}, {1 / min(found):.2f})  {base / middle:.2f} x"
        )


if __name__ == "__main__":
    main()
