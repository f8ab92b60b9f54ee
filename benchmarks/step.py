"""python -m benchmarks.step: the training step of the full network against the machine's rate of matrix products.

Images/s, FLOP/s (3 times the forward pass) and their share of the rate of matrix products, measured in the same round:
a square one, and one shaped like the network's middle convolutions; the faster counts. Cases take turns, medians of the
rounds are shown. On CUDA every side and precision, eager and compiled, 64 images at once; on a CPU 4 images, bf16 at
every side, float32 at 416 px (or the first side), and eager unless --compiled says otherwise (compiling takes minutes
there).

--clock cpu counts CPU seconds of the process instead, for a shared CPU; best with OMP_NUM_THREADS=1. `--trace FILE`
writes a profile of one step at that side, and prints where the time goes, operator by operator.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from data.loading.batch import Batch
from launch.processes.environment import Environment, connect
from launch.processes.stop import Stop
from train.config import VOC_ANCHORS
from train.loss import LossConfig, build_loss
from train.model import YOLOv2
from train.schedule.learning_rate import ScheduleConfig
from train.stepping.config import DTYPES, StepConfig
from train.stepping.memory.warm_up import predicted_memory, warm_up
from train.stepping.step import Step

SIDES = [320, 416, 544, 608]
FORWARD_AND_BACKWARD = 3  # times the forward pass
SMALL = "4 pool 4 pool 8 pool 8 pool 8 pool -8"  # a network that costs almost nothing: the rest is the loop


class Case(NamedTuple):
    precision: str
    side: int
    compiled: bool


def cases(device: str, sides: list[int], compiled: bool) -> list[Case]:
    if device == "cuda":
        return [
            Case(precision, side, how)
            for precision in ("bf16", "fp16", "fp32")
            for side in (sides if precision == "bf16" else [416])
            for how in (False, True)
        ]
    once = 416 if 416 in sides else sides[0]
    eager = [Case("bf16", side, False) for side in sides] + [Case("fp32", once, False)]
    return [*eager, Case("bf16", once, True)] if compiled else eager


def build(precision: str, compiled: bool, env: Environment, layers: str | None = None, width: float = 1.0) -> Step:
    anchors = list(zip(VOC_ANCHORS[::2], VOC_ANCHORS[1::2], strict=True))
    config = StepConfig(precision=precision, compile="yes" if compiled else "no")  # type: ignore[arg-type]
    return Step(
        config, ScheduleConfig(), YOLOv2(width=width, layers=layers), build_loss(LossConfig(), anchors, 20), env
    )


def compiled_by(backend: str) -> None:
    plain = torch.nn.Module.compile
    torch.nn.Module.compile = lambda self, **given: plain(self, backend=backend, **given)  # type: ignore[method-assign]


def batch_of(images: int, side: int, device: torch.device) -> Batch:
    truths = torch.rand(images, 50, 5, device=device) * 0.5 + 0.25
    truths[:, :3, 4], truths[:, 3:, 4] = 1, -1
    pixels = torch.randint(0, 256, (images, side, side, 3), dtype=torch.uint8, device=device)
    return Batch(pixels, truths, torch.arange(images), [], side)


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = time.perf_counter


def seconds(work: Callable[[], Any], device: torch.device, times: int = 1) -> float:
    synchronize(device)
    began = clock()
    for _ in range(times):
        work()
    synchronize(device)
    return (clock() - began) / times


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forward_flops(side: int, width: float) -> int:
    """FLOP of the forward pass of one image."""
    with torch.device("meta"):
        model, image = YOLOv2(width=width), torch.empty(1, 3, side, side)
    with FlopCounterMode(display=False) as counter:
        model(image)
    return int(counter.get_total_flops())


class Products:
    """Speed in one precision: square matrices, and a 3x3 convolution of 512 to 1024 channels at 13 x 13 cells."""

    def __init__(self, dtype: torch.dtype, device: torch.device, images: int) -> None:
        square = 8192 if device.type == "cuda" else 2048
        self.device = device
        self.pairs = [
            (
                torch.randn(rows, inner, device=device, dtype=dtype),
                torch.randn(inner, columns, device=device, dtype=dtype),
            )
            for rows, inner, columns in ((square, square, square), (169 * images, 9 * 512, 1024))
        ]

    def rate(self) -> float:
        """FLOP/s, of the faster one."""
        rates = []
        for left, right in self.pairs:
            flops = 2 * left.shape[0] * left.shape[1] * right.shape[1]
            best = min(seconds(lambda: left @ right, self.device) for _ in range(3))  # noqa: B023
            rates.append(flops / best)
        return max(rates)


def overhead(env: Environment, precision: str, images: int) -> tuple[float, float]:
    """Seconds of a step besides forward, backward and optimizer: with a network that costs nothing, including the loop;
    and for two passes over the full network's weights, the gradient norm and zeroing gradients."""
    step, batch = build(precision, False, env, SMALL), batch_of(images, 32, env.device)
    position = torch.zeros((), device=env.device)

    def bare() -> None:
        total, _ = step.objective(batch.images, None, batch.truths, position)
        step.scaler.scale(total).backward()
        step.optimizer.step()
        step.optimizer.zero_grad(set_to_none=True)

    whole, least = [], []
    for _ in range(8):
        whole.append(seconds(lambda: step(batch, 0), env.device, 20))
        least.append(seconds(bare, env.device, 20))
    weights = [parameter.detach() for parameter in YOLOv2().to(env.device).parameters()]
    norm = min(seconds(lambda: torch.nn.utils.get_total_norm(weights), env.device) for _ in range(5))
    return max(min(whole) - min(least), 0.0), norm


def measure(env: Environment, images: int, rounds: int, chosen: list[Case], width: float) -> list[dict[str, Any]]:
    device = env.device
    steps: dict[tuple[str, bool], Step] = {}
    starts, peaks = {}, {}
    products = {case.precision: Products(DTYPES[case.precision], device, images) for case in chosen}
    for case in chosen:
        key = (case.precision, case.compiled)
        step = steps.setdefault(key, build(*key, env, width=width)) if key not in steps else steps[key]
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        with closing(_Nobody()) as nobody:
            starts[case] = seconds(lambda: warm_up(step, iter([batch_of(images, case.side, device)]), nobody), device)  # noqa: B023
        predicted = predicted_memory(step, batch_of(images, case.side, device), 1).total
        peaks[case] = (predicted, torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None)
    times: dict[Case, list[float]] = {case: [] for case in chosen}
    shares: dict[Case, list[float]] = {case: [] for case in chosen}
    rates: dict[str, list[float]] = {precision: [] for precision in products}
    per_round = 10 if device.type == "cuda" else 1
    for _ in range(rounds):
        for precision, product in products.items():
            rates[precision].append(product.rate())
        for case in chosen:
            step, batch = steps[case.precision, case.compiled], batch_of(images, case.side, device)
            times[case].append(seconds(lambda: step(batch, 0), device, per_round))  # noqa: B023
            flops = FORWARD_AND_BACKWARD * forward_flops(case.side, width) * images / times[case][-1]
            shares[case].append(flops / rates[case.precision][-1])
    return [
        {
            "precision": case.precision,
            "side": case.side,
            "compiled": case.compiled,
            "images_per_s": images * env.world_size / statistics.median(times[case]),
            "step_s": statistics.median(times[case]),
            "flops": FORWARD_AND_BACKWARD * forward_flops(case.side, width) * images / statistics.median(times[case]),
            "matmul_flops": statistics.median(rates[case.precision]),
            "share": statistics.median(shares[case]),
            "shares": shares[case],
            "warm_up_s": starts[case],
            "predicted_bytes": peaks[case][0],
            "peak_bytes": peaks[case][1],
        }
        for case in chosen
    ]


class _Nobody(Stop):
    """A Stop that never asks to stop."""

    def __init__(self) -> None:
        pass

    def agreed(self) -> bool:
        return False

    def close(self) -> None:
        pass


def profile(env: Environment, images: int, side: int, path: Path, width: float) -> str:
    """Profiles one step, after two others."""
    step, batch = build("bf16", env.device.type == "cuda", env, width=width), batch_of(images, side, env.device)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if env.device.type == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    for _ in range(2):
        step(batch, 0)
    synchronize(env.device)
    with torch.profiler.profile(activities=activities) as found:
        step(batch, 0)
        synchronize(env.device)
    found.export_chrome_trace(str(path))
    by = "self_cuda_time_total" if env.device.type == "cuda" else "self_cpu_time_total"
    return str(found.key_averages().table(sort_by=by, row_limit=16, max_name_column_width=44))


def table(rows: Iterable[dict[str, Any]]) -> str:
    lines = [
        f"{'precision':<10}{'side':>5}{'':>10}{'images/s':>10}{'TFLOP/s':>9}{'matmul':>8}{'share':>7}"
        f"{'GB predicted':>14}{'GB peak':>9}{'start s':>9}"
    ]
    for row in rows:
        peak = f"{row['peak_bytes'] / 1e9:.2f}" if row["peak_bytes"] else ""
        how = "compiled" if row["compiled"] else "eager"
        lines.append(
            f"{row['precision']:<10}{row['side']:>5}{how:>10}{row['images_per_s']:>10.2f}"
            f"{row['flops'] / 1e12:>9.3f}{row['matmul_flops'] / 1e12:>8.3f}{row['share']:>7.0%}"
            f"{row['predicted_bytes'] / 1e9:>14.2f}{peak:>9}{row['warm_up_s']:>9.1f}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.step", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, help="per process and step; default 64 on CUDA, 4 on a CPU")
    parser.add_argument("--sides", default=",".join(map(str, SIDES)), help="px, comma separated")
    parser.add_argument("--width", type=float, default=1.0, help="of the network")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compiled", action="store_true", help="on a CPU: also compiled, at 416 px")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--trace", type=Path)
    parser.add_argument("--precisions", default="bf16,fp16,fp32", help="comma separated; no fp16 on a CPU")
    parser.add_argument("--backend", help="of the compiler; eager: run without compiling, to try this out")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    if options.backend:
        compiled_by(options.backend)
    global clock
    clock = CLOCKS[options.clock]
    with connect() as env:
        torch.manual_seed(0)
        images = options.images or (64 if env.device.type == "cuda" else 4)
        sides = [int(side) for side in options.sides.split(",")]
        chosen = cases(env.device.type, sides, options.compiled)
        chosen = [case for case in chosen if case.precision in options.precisions.split(",")]
        rows = measure(env, images, options.rounds, chosen, options.width)
        host, norm = overhead(env, "bf16", 4)
        if env.rank == 0:
            print(
                f"{env}, torch {torch.__version__}, {images} images at once, "
                f"{torch.get_num_threads()} threads, {options.clock} clock"
            )
            print(table(rows))
            print(
                f"beside forward, backward and optimizer: {1e3 * host:.2f} ms a step, gradient norm {1e3 * norm:.1f} ms"
            )
            if options.trace:
                print(profile(env, images, 416 if 416 in sides else sides[0], options.trace, options.width))
            if options.json:
                found = {"environment": str(env), "torch": torch.__version__, "images": images, "cases": rows}
                options.json.write_text(json.dumps({**found, "overhead_s": host, "norm_s": norm}, indent=1))


if __name__ == "__main__":
    main()
