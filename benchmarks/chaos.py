"""python -m benchmarks.chaos [--kills 50 | --faults 50]: disturbed runs must end with the bits of an undisturbed one.

A small run of two processes is started repeatedly; at random moments (start, warm-up, training, evaluation), and every
third time while a checkpoint is being written, SIGKILL, SIGTERM or SIGSTOP goes to one of its processes, to torchrun,
or to all processes including loaders, as when a node fails. The remaining processes are then killed as by a
batch system, every other time only after they had time to exit by themselves, and the same command is started, with 0,
1 or 2 loader processes for each training process. Each finished run is compared bit for bit with the undisturbed one:
weights, statistics, moments. An image that is lost, or seen twice, would change them.

--faults: nothing is killed; in each attempt system calls fail or are slow, at random: writing, syncing and renaming
files of the run, reading shards. After each the newest whole checkpoint must not be older than before.
"""

import argparse
import errno
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from benchmarks.faults.calls import compiled, failing
from data.shards.writing.write import write_shards
from data.sources.shapes import draw_voc
from data.sources.voc import read_voc
from train.run.checkpoint_files import newest, position_of, read

MAIN = Path(__file__).resolve().parents[1] / "train/main.py"
POSITION = r"^epoch \d+/\d+ +([\d,]+)/[\d,]+ images"  # in a line of the log
HANG_S = 180  # an attempt that takes longer hangs, unless the undisturbed run took a third of it
STOPPED_S = 2  # how long SIGSTOP holds a process
ORPHANS_S = 30  # in which an attempt's remaining processes must exit by themselves


def draw_sets(folder: Path) -> None:
    """Makes shards of a few pictures."""
    draw_voc(folder / "drawn", train=53, val=21, seed=1)
    for split in ("train", "val"):
        write_shards(read_voc(folder / "drawn", [f"2007:{split}"]), folder / split, shard_mb=0.15)


def config(folder: Path) -> Path:
    path = folder / "chaos.yaml"
    path.write_text(
        f"""
        epochs: 12
        data: {{train: {folder}/train, val: {folder}/val, batch: 8, sides: [64, 96], max_faults: 0}}
        model: {{width: 0.0625, bn_momentum: 0.1}}
        step: {{precision: fp32}}
        schedule: {{rate: 1.0e-3, burn_in_images: 100, drop_images: [400]}}
        evaluate: {{side: 96, batch: 4}}
        checkpoint: {{every_images: 24}}
        board: {{every_batches: 3}}
        """
    )
    return path


class Attempt:
    """A torchrun and its descendants, found by a variable that they inherit, since it starts new sessions."""

    def __init__(
        self, path: Path, run: Path, processes: int, workers: int = 1, faults: Mapping[str, str] | None = None
    ) -> None:
        self._mark = f"CHAOS={uuid4()}"
        self.run, self._log = run, run.parent / f"{run.name}.log"
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        environ = {**os.environ, "OMP_NUM_THREADS": "1", **dict([self._mark.split("=")]), **(faults or {})}
        with self._log.open("ab") as log:
            self._said = log.tell()
            command = [*torchrun, str(MAIN), str(path), f"run={run}", f"data.workers={workers}"]
            self.torchrun = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environ)

    def processes(self) -> dict[int, int]:
        """{process: parent}, including loader processes."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, IndexError):
                if self._mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                    found[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        return found

    def saving(self) -> bool:
        parts = (self.run / "checkpoints").glob("*.part")
        with suppress(FileNotFoundError):
            return any(time.time() - path.stat().st_mtime < 0.5 for path in parts)  # older: from an earlier attempt
        return False

    def phase(self) -> str:
        return "saving" if self.saving() else "running" if self.logged_position() else "start"

    def logged_position(self) -> int:
        """Images seen according to the last log line; 0: no line yet."""
        said = self._log.read_bytes()[self._said :].decode(errors="replace")
        return max((int(seen.replace(",", "")) for seen in re.findall(POSITION, said, re.MULTILINE)), default=0)

    def all_gone(self, within_s: float) -> bool:
        end = time.monotonic() + within_s
        while self.processes() and time.monotonic() < end:
            time.sleep(0.1)
        return not self.processes()

    def sweep(self) -> None:
        """Kills what is left, as a batch system does."""
        send(list(self.processes()), signal.SIGKILL)
        self.torchrun.wait()


def send(targets: list[int], number: signal.Signals) -> None:
    for target in targets:
        with suppress(ProcessLookupError):
            os.kill(target, number)


class Disturbance(NamedTuple):
    what: str
    phase: str  # start: before the first line of the log; saving: a checkpoint was being written; running

    def __str__(self) -> str:
        return f"{self.what}, {self.phase}"


def strike(attempt: Attempt, after_s: float, aimed: bool, chance: random.Random) -> Disturbance | None:
    """Strikes at a random moment, or when the next checkpoint is being written; None: the attempt had ended."""
    with suppress(subprocess.TimeoutExpired):
        attempt.torchrun.wait(after_s)
    while aimed and attempt.torchrun.poll() is None and not attempt.saving():
        time.sleep(0.001)
    if attempt.torchrun.poll() is not None:
        return None
    kind = chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
    everybody = attempt.processes()
    trainers = [number for number, parent in everybody.items() if parent == attempt.torchrun.pid]
    targets = {"torchrun": [attempt.torchrun.pid], "node": list(everybody)}
    if trainers:
        targets["process"] = [chance.choice(trainers)]
    whom, phase = chance.choice(sorted(targets)), attempt.phase()
    send(targets[whom], kind)
    if kind == signal.SIGSTOP:
        time.sleep(STOPPED_S)
        send(targets[whom], signal.SIGCONT)
    return Disturbance(f"{kind.name} to {whom}", phase)


def random_faults(library: Path, run: Path, said: Path, chance: random.Random) -> Mapping[str, str]:
    """Faults of one kind, in randomly chosen calls."""
    call = chance.choice(["write", "fsync", "rename", "pread"])
    how = chance.choice([{"errno": errno.EIO}, {"errno": errno.ENOSPC}, {"sleep": 0.3}])
    where = "/shard-" if call == "pread" else f"{run.name}/"
    return failing(library, call, where, said, chance=chance.choice([0.3, 0.1, 0.03, 0.01]), **how)


def hit(said: Path, faults: Mapping[str, str], phase: str) -> Disturbance | None:
    """The faults that hit an attempt; None: no call was hit."""
    if not said.exists():
        return None
    said.unlink()
    number = int(faults.get("FAULT_ERRNO", 0))
    return Disturbance(f"{faults['FAULT_CALLS']}: {errno.errorcode[number] if number else 'slow'}", phase)


def position(run: Path) -> int:
    """Images seen at the newest whole checkpoint."""
    path = newest(run / "checkpoints")
    return position_of(path) if path else 0


def state_of(run: Path) -> dict[str, torch.Tensor]:
    path = newest(run / "checkpoints")
    assert path is not None, f"{run} has no checkpoint"
    step = read(path)["step"]
    moments = {
        f"{name} {number}": torch.as_tensor(value)
        for number, parameter in step["optimizer"]["state"].items()
        for name, value in parameter.items()
    }
    return {"images": torch.tensor(position_of(path)), **step["model"], **moments}


def twice_logged(run: Path) -> list[str]:
    """TensorBoard tags with two values at one position."""
    events = EventAccumulator(str(run / "board"), size_guidance={"scalars": 0})
    events.Reload()
    steps = {tag: [point.step for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    return [tag for tag, points in steps.items() if len(points) != len(set(points))]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--faults", type=int, help="attempts with failing or slow calls, instead of kills; needs gcc")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after these, no more disturbances")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    chance, wanted = random.Random(options.seed), options.faults or options.kills
    disturbances: list[Disturbance] = []
    redone: dict[str, list[int]] = {}
    attempts, runs, bad = 0, 0, []
    lost_s = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        draw_sets(folder)
        path, said, library = config(folder), folder / "said", compiled(folder)
        assert library or not options.faults, "no gcc"
        end = time.monotonic() + 60 * options.minutes
        began = time.monotonic()
        assert Attempt(path, folder / "undisturbed", options.processes).torchrun.wait(HANG_S * 4) == 0
        undisturbed_s = time.monotonic() - began
        hang_s = max(HANG_S, 3 * undisturbed_s)
        expected = state_of(folder / "undisturbed")
        print(f"undisturbed: {undisturbed_s:.0f} s, {int(expected['images'])} images", flush=True)
        while len(disturbances) < wanted and time.monotonic() < end:
            run = folder / f"run{runs}"
            runs += 1
            began, needed = time.monotonic(), 0
            while not (run / "finished").exists():
                disturbed = len(disturbances) < wanted and time.monotonic() < end
                faults, before, disturbance = None, position(run), None
                if disturbed and options.faults and library:
                    faults = random_faults(library, run, said, chance)
                attempt = Attempt(path, run, options.processes, chance.randrange(3), faults)
                attempts, needed = attempts + 1, needed + 1
                if disturbed and not faults:
                    disturbance = strike(attempt, chance.uniform(0, undisturbed_s), len(disturbances) % 3 == 0, chance)
                try:
                    attempt.torchrun.wait(hang_s)
                except subprocess.TimeoutExpired:
                    bad.append(f"run {runs}, attempt {needed} did not end in {hang_s:.0f} s")
                if chance.random() < 0.5 and not attempt.all_gone(ORPHANS_S):
                    bad.append(f"run {runs}, attempt {needed} left processes behind for {ORPHANS_S} s")
                attempt.sweep()
                if faults:
                    disturbance = hit(said, faults, attempt.phase())
                if disturbance:
                    disturbances.append(disturbance)
                    print(f"run {runs}, attempt {needed}: {disturbance}", flush=True)
                if (after := position(run)) < before:
                    bad.append(f"run {runs}, attempt {needed}: the newest checkpoint is at {after}, was at {before}")
                if disturbance and not (run / "finished").exists():
                    redone.setdefault(disturbance.what, []).append(max(attempt.logged_position() - position(run), 0))
                if needed > 40:
                    bad.append(f"run {runs} did not end in {needed} attempts")
                    break
            lost_s += time.monotonic() - began - undisturbed_s
            found = state_of(run)
            differing = [name for name in expected if not torch.equal(expected[name], found[name])]
            bad += [f"run {runs}: {len(differing)} tensors differ, such as {differing[0]}"] if differing else []
            bad += [f"run {runs}: logged twice: {', '.join(twice)}" for twice in [twice_logged(run)] if twice]
            print(f"run {runs} ended after {needed} attempts; wrong so far: {len(bad)}", flush=True)
    print(f"\n{len(disturbances)} disturbances, {attempts} attempts, {runs} runs")
    print(f"{'':<22}{'start':>8}{'running':>8}{'saving':>8}   images trained on again: mean, most")
    for what in sorted({disturbance.what for disturbance in disturbances}):
        numbers = Counter(disturbance.phase for disturbance in disturbances if disturbance.what == what)
        again = f"   {statistics.mean(redone[what]):.0f}, {max(redone[what])}" if what in redone else ""
        print(f"{what:<22}" + "".join(f"{numbers[phase]:>8}" for phase in ("start", "running", "saving")) + again)
    print(f"seconds lost for each disturbance: {lost_s / max(len(disturbances), 1):.1f}")
    print(
        "\n".join(bad) or "every run ended with the bits of the undisturbed one, and one value at each logged position"
    )
    if options.json:
        options.json.write_text(
            json.dumps({"disturbances": disturbances, "attempts": attempts, "runs": runs, "bad": bad}, indent=1)
        )
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
