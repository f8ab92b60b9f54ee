"""python -m benchmarks.agreement: what agreeing whether to stop costs a step, among processes of this machine.

Three ways take turns, step by step, with a network of a few tiny layers under DDP, so that a step does little else: a
ring over the hosts before each step (as before the first one), a number exchanged beside the step (as between steps),
and neither. Their cost is the time of a step minus its forward, backward and optimizer.
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

from benchmarks.step import SMALL, batch_of, build
from launch.processes.environment import Environment, connect, leave
from launch.processes.stop import Stop
from train.stepping.step import Step

WAYS = ("a ring of hosts", "beside the step", "neither")


def measure(env: Environment, steps: int, folder: Path) -> dict[str, list[float]]:
    """Seconds of each step in each way, and of forward, backward and optimizer alone."""
    step, batch = build("fp32", False, env, SMALL), batch_of(2, 32, env.device)
    now, ahead = Stop(folder, env), Stop(folder, env)
    ways: list[tuple[str, Callable[[], Any]]] = [
        (WAYS[0], now.agreed),
        (WAYS[1], lambda: ahead.agreed_ahead(following=True)),
        (WAYS[2], lambda: None),
    ]
    found: dict[str, list[float]] = {"alone": [], **{name: [] for name in WAYS}}
    for number in range(steps + 5):
        env.barrier()  # a step begins on all processes at once
        times = {"alone": _seconds(lambda: _alone(step, batch))}
        for name, agree in ways:
            env.barrier()
            times[name] = _seconds(lambda: (agree(), step(batch, 0)))  # noqa: B023
        for name, seconds in times.items():
            found[name] += [seconds] * (number >= 5)
    return found


def _seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _alone(step: Step, batch: Any) -> None:
    total, _ = step.objective(batch.images, None, batch.truths, torch.zeros((), device=step.env.device))
    total.backward()
    step.optimizer.step()
    step.optimizer.zero_grad(set_to_none=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.agreement", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.out:
        with connect() as env:
            torch.set_num_threads(1)
            found = measure(env, options.steps, options.out.parent)
            if env.rank == 0:
                options.out.write_text(json.dumps(found))
        leave()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={options.processes}"]
        words = ["-m", "benchmarks.agreement", f"--steps={options.steps}", f"--out={out}"]
        subprocess.run([sys.executable, *start, *words], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
        found = json.loads(out.read_text())
    alone = statistics.median(found.pop("alone"))
    neither = statistics.median(found["neither"])
    print(f"{options.processes} processes, {options.steps} steps each way, medians; ms")
    print(f"forward, backward, optimizer alone: {1e3 * alone:.3f}")
    print(f"{'':<18}{'step':>9}{'beside those':>14}{'of agreeing':>13}{'fastest step':>15}")
    for name, times in found.items():
        median = statistics.median(times)
        print(
            f"{name:<18}{1e3 * median:>9.3f}{1e3 * (median - alone):>14.3f}{1e3 * (median - neither):>13.3f}"
            f"{1e3 * min(times):>15.3f}"
        )


if __name__ == "__main__":
    main()
