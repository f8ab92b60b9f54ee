"""make gpu: what can be measured on a machine with a GPU in nine minutes, beside the predictions.

    make gpu [WHEELS=FOLDER] [TRAIN=SHARDS VAL=SHARDS] [OUT=FOLDER]
    make gpu DRY=1     # all of it, small, on the CPU

Needs no network: missing packages come from FOLDER, which benchmarks/gpu_wheels.py fills. In this order: environment,
tests that need a GPU, the step, the loader, a profile, training on real pictures with its mAP, memory. Every part has
its own time limit; its results are in OUT/table.md as soon as it ends, its output in OUT/*.log. A part that fails or
runs out of time only loses its own rows. Pictures are those of TRAIN and VAL, else BCCD if available (datasets/bccd,
shared/data/bccd.tar), else drawn ones.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
WHOLE_S = 540.0
PATIENCE = 5  # times that, and every limit, for a rehearsal on a shared machine
LEAVE_S = 20.0  # for a run that was asked to stop


class Row(NamedTuple):
    what: str
    measured: str
    predicted: str = ""
    source: str = ""  #: a file in the folder


class Machine:
    """A place to run commands, with a deadline and a folder for their output."""

    def __init__(self, out: Path, dry: bool, train: str | None, val: str | None) -> None:
        self.out, self.dry, self.train, self.val = out, dry, train, val
        self.began = time.monotonic()
        self.environ = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.cores = len(os.sched_getaffinity(0))
        self._times = PATIENCE if dry else 1
        if dry:
            self.cores = min(self.cores, 2)
            self.environ |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}

    def left_s(self) -> float:
        return self._times * WHOLE_S - (time.monotonic() - self.began)

    def python(self, log: str, *words: object, limit_s: float, stop: Path | None = None) -> str:
        """The command's output. At its time limit it is killed; with `stop`, first asked to stop by that file.

        RuntimeError: it failed, or no time is left.
        """
        limit_s = min(self._times * limit_s, self.left_s())
        if limit_s <= 0:
            raise RuntimeError("no time left")
        path = self.out / log
        with path.open("ab") as file:
            begins = file.tell()
            command = [sys.executable, *map(str, words)]
            process = subprocess.Popen(
                command, cwd=ROOT, env=self.environ, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
            )
            ended = _ended(process, limit_s - (LEAVE_S if stop else 0))
            if not ended and stop:
                stop.touch()
                ended = _ended(process, LEAVE_S)
            if not ended:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        said = path.read_bytes()[begins:].decode(errors="replace")
        if not ended:
            raise OutOfTime(f"ended after {limit_s:.0f} s", said)
        if process.returncode:
            last = (said.strip().splitlines() or [""])[-1]
            raise RuntimeError(f"exit status {process.returncode}: {last[:120]}")
        return said


class OutOfTime(RuntimeError):
    def __init__(self, reason: str, said: str) -> None:
        super().__init__(reason)
        self.said = said


def _ended(process: "subprocess.Popen[bytes]", within_s: float) -> bool:
    try:
        process.wait(max(within_s, 0))
    except subprocess.TimeoutExpired:
        return False
    return True


Part = Callable[[Machine], Iterable[Row]]


def run_parts(machine: Machine, parts: Sequence[tuple[str, Part]]) -> list[Row]:
    """Runs the parts in turn; the table on disk grows with each row. A failure is a row too."""
    rows: list[Row] = []
    for name, part in parts:
        began = time.monotonic()
        print(f"{name} ...", flush=True)
        try:
            for row in part(machine):
                rows.append(row)
                (machine.out / "table.md").write_text(table(rows))
        except Exception as error:  # the parts after it do not depend on it
            rows.append(Row(name, f"NOT MEASURED: {type(error).__name__}: {error}".replace("\n", " ")))
        rows.append(Row(f"{name}: time", f"{time.monotonic() - began:.0f} s"))
        (machine.out / "table.md").write_text(table(rows))
    return rows


def table(rows: Iterable[Row]) -> str:
    lines = ["| what | measured | predicted | from |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="make gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dry", action="store_true", help="all of it, small, on the CPU")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / time.strftime("gpu-%Y%m%d-%H%M%S"))
    parser.add_argument("--wheels", type=Path, help="folder with wheels of packages that may be missing")
    parser.add_argument("--train", help="shards of real pictures to train on, with --val")
    parser.add_argument("--val")
    options = parser.parse_args(words)
    if bool(options.train) != bool(options.val):
        parser.error("expected TRAIN and VAL together")
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    machine = Machine(out, options.dry, options.train, options.val)
    from benchmarks.gpu_wheels import provide

    if problem := provide(options.wheels, out / "packages", machine.environ):
        print(f"error: {problem}", file=sys.stderr)
        return 1
    from benchmarks.gpu_parts import PARTS

    rows = run_parts(machine, PARTS)
    print(f"\n{table(rows)}\n{out}/table.md, {time.monotonic() - machine.began:.0f} s")
    return int(any(row.measured.startswith("NOT MEASURED") for row in rows))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(main())
