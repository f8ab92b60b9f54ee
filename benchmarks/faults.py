"""python -m benchmarks.faults [WORD ...]: makes each fault of a table, runs a command in it, and judges how it ends.

A row is a fault, the shell commands that make it, the right exit status and what must be said. Whatever the row, an
error is one `error:` line without a traceback, and nothing that was started is still there 10 seconds later. WORDs
choose the rows that have one in their name. On the CPU. benchmarks.chaos kills whole runs.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from data.shards.write import write_shards
from data.sources.shapes import draw_voc
from data.sources.voc import read_voc

ROOT = Path(__file__).resolve().parents[1]
LIMIT_S = 240
GONE_S = 10.0
TRACEBACK = "Traceback (most recent call last)"
SHELL = r"""
start() { "$PY" "$ROOT/train/main.py" "$@"; }
train() { start "$T/tiny.yaml" run="$PWD/run" "$@"; }
until_started() { while kill -0 $run && ! ls -l /proc/$run/fd 2>&1 | grep -q run/lock; do sleep 0.1; done; sleep 1; }
ended() { status=$?; trap 'exit $status' EXIT; }  # the exit status of the row is that of the command before
until_said() { for i in $(seq 1200); do grep -q "$1" said && return; sleep 0.1; done; echo "never said: $1"; }
"""
SRUN = "SLURM_JOB_ID=77 SLURM_STEP_ID=0 SLURM_STEP_NUM_TASKS=4"
START = (
    'until_said() { for i in $(seq 1200); do grep -q "$1" said && return; sleep 0.1; done; echo "never said: $1"; }; '
)


NOT_RUN = r"data.val is a command(?s:(?!\nran\n).)*$"  # the command would leave a file called ran


class Row(NamedTuple):
    fault: str
    script: str  # bash; train, $PY, $SILENT (a port where nobody answers) and a folder of its own are at hand
    status: int
    said: str  # a regular expression


def after(signal_name: str, words: str, said: str) -> str:
    """A training that gets a signal once it has said something; it must be gone 2 seconds later."""
    return (
        f"env --default-signal=INT $PY $ROOT/train/main.py {words} > said 2>&1 & run=$!; {said}; began=$(date +%s%N); "
        f"kill -{signal_name} $run; wait $run; status=$?; cat said; "
        'echo "gone after $(( ($(date +%s%N) - began) / 1000000000 )) s"; exit $status'
    )


TINY = "$T/tiny.yaml run=$PWD/run"
ROWS = [
    Row("a name that the console has no letters for", "PYTHONIOENCODING=ascii $PY -m data.shards verify 图", 1, r"\?"),
    Row("a name with escape sequences", "$PY -m data.shards verify $'a\\e[2Jb'", 1, r"error: .*a\\x1b\[2Jb"),
    Row("standard output is closed", "$PY -m train.capacity $T/tiny.yaml --gb 8 >&-", 0, ""),
    Row("standard output is full", "$PY -m train.capacity $T/tiny.yaml --gb 8 > /dev/full", 1, "No space left"),
    Row("a reader leaves", "$PY -m train.capacity $T/tiny.yaml --gb 8 | head -n 1; exit ${PIPESTATUS[0]}", 0, "images"),
    Row("no home", "env -u HOME $PY -m train.capacity $T/tiny.yaml --gb 8", 0, "images"),
    Row("no config", "start nowhere.yaml", 1, "error: no config at nowhere.yaml"),
    Row("a folder as config", "start $T", 1, "error: no config at"),
    Row("a list as config", "echo '- 1' > a.yaml; start a.yaml", 1, "expected YAML of `key: value`"),
    Row("a config in UTF-16", "printf '\\xff\\xfea' > a.yaml; start a.yaml", 1, "YAML in UTF-8"),
    Row("a config that builds objects", "echo 'a: !!python/name:os.system' > a.yaml; start a.yaml", 1, "constructor"),
    Row(
        "a config of nested aliases",
        "{ echo 'a0: &a0 [x, x]'; for n in {1..120}; do echo \"a$n: &a$n [*a$((n - 1)), *a$((n - 1))]\"; done; } "
        "> a.yaml; start a.yaml",
        1,
        "expected at most 100 aliases",
    ),
    Row("a config of 2 MB", "head -c 2000000 /dev/zero | tr '\\0' x > a.yaml; start a.yaml", 1, "2,000,000 bytes"),
    Row("a config that asks for the environment", "train data.val='http://h/${oc.env:HOME}'", 1, "oc.env"),
    Row("a command in a config, trained", "start $T/piped.yaml run=run; ended; ls", 1, NOT_RUN),
    Row("a command in a config, checked", "$PY -m train.check $T/piped.yaml run=run; ended; ls", 1, NOT_RUN),
    Row(
        "a command in a run's config, scored",
        "mkdir run; cp $T/piped.yaml run/config.yaml; $PY -m train.score run weights=$T/some.weights; ended; ls",
        1,
        NOT_RUN,
    ),
    Row("a job with a run called -x", "$PY -m launch.submit $T/tiny.yaml run=-x --dry-run", 1, "expected `run`"),
    Row("a time limit in other digits", "$PY -m launch.submit $T/tiny.yaml time=٣٠:00 --dry-run", 1, "a limit such"),
    Row(
        "a config whose folder has a = in its name",
        "mkdir lr=0.1; cp $T/tiny.yaml lr=0.1/; $PY -m launch.submit lr=0.1/tiny.yaml run=r gpus_per_node=0 --dry-run",
        0,
        "arguments=",
    ),
    Row("no sbatch", "PATH=/nowhere $PY -m launch.submit $T/tiny.yaml run=r gpus_per_node=0", 1, "no sbatch on this"),
    Row("RANK is empty", "RANK= WORLD_SIZE= LOCAL_RANK= train data.train=/nowhere", 1, "no shards at"),
    Row("RANK alone", "RANK=0 train", 1, "WORLD_SIZE: expected a number"),
    Row("RANK is no number", "RANK=x WORLD_SIZE=2 train", 1, "RANK: expected a number"),
    Row("a rank too many", "RANK=2 WORLD_SIZE=2 train", 1, "expected a rank below"),
    Row("half of srun's variables", "SLURM_STEP_NUM_TASKS=4 train", 1, "SLURM_PROCID: expected .* to train alone"),
    Row(
        "srun's variables without nodes",
        "SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=0 SLURM_LOCALID=0 train",
        1,
        "expected SLURM_STEP_NODELIST, SLURM_JOB_ID, SLURM_STEP_ID",
    ),
    Row("an allocation without a step", "SLURM_JOB_ID=77 SLURM_NTASKS=4 train data.train=/nowhere", 1, "no shards at"),
    Row(
        "an interactive step whose other tasks have gone, then Ctrl-C",
        f"export {SRUN} SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_STEP_NODELIST=localhost; "
        + after("INT", TINY, "until_said 'waiting for rank 1, 2, 3 of the 4 tasks .* to train alone'"),
        130,
        r"error: interrupted\ngone after [012] s",
    ),
    Row(
        "rank 0 has no address",
        f"{SRUN} SLURM_PROCID=1 SLURM_LOCALID=1 SLURM_STEP_NODELIST=no.such.host.invalid train",
        1,
        "error: rank 1 .* whose name has no address on this node",
    ),
    Row(
        "a set at a silent server, then SIGTERM",
        after("TERM", f"{TINY} data.train=http://127.0.0.1:$SILENT/set data.staging=$PWD/s", "until_started"),
        0,
        r"stopped before the first step; nothing was trained\ngone after [012] s",
    ),
    Row(
        "a set at a silent server, then Ctrl-C",
        after("INT", f"{TINY} data.train=http://127.0.0.1:$SILENT/set data.staging=$PWD/s", "until_started"),
        130,
        r"error: interrupted\ngone after [012] s",
    ),
    Row(
        "a command that gives nothing, then SIGTERM",
        after("TERM", f"{TINY} 'data.train=pipe:sleep 200; cat {{}}' data.staging=$PWD/s", "until_started"),
        0,
        r"stopped before the first step; nothing was trained\ngone after [012] s",
    ),
    Row(
        "another attempt has the run, then SIGTERM",
        "mkdir run; (exec 9> run/lock; flock 9; exec sleep 100) & holder=$!; "
        + after("TERM", TINY, "until_started").replace("exit", "kill $holder; exit"),
        0,
        r"stopped before the first step; nothing was trained\ngone after [012] s",
    ),
    Row("a password in an address", "train data.train=http://me:secret@host/set", 1, r"^(?!(?s:.*secret)).*user"),
    Row("a token in an address", "train 'data.train=http://host/set?sig=secret'", 1, r"^(?!(?s:.*secret)).*staging"),
    Row("weights that are not there", "train weights=/nowhere/a.weights", 1, "error: .*/nowhere/a.weights"),
    Row("a run folder that cannot be", "train run=/proc/run", 1, "error: .*/proc/run"),
    Row("a file where the run's folder goes", "touch run; train", 1, "error: .*run"),
    Row("shards that are not there", "train data.train=$PWD", 1, "error: no shards at"),
    Row(
        "a shard that was cut",
        "cp -r $T/train cut; truncate -s 1000 cut/shard-000000.tar; train data.train=$PWD/cut",
        1,
        "error: .*shard-000000.tar",
    ),
    Row(
        "a training process is killed, its loader processes go",
        after("KILL", f"{TINY} epochs=10000 data.workers=2", "until_said images/s"),
        137,
        "gone after",
    ),
    Row(
        "SIGTERM while training",
        after("TERM", f"{TINY} epochs=10000", "until_said images/s") + "",
        0,
        r"gone after \d s",
    ),
]  # fmt: skip


def prepare(folder: Path) -> None:
    """A few pictures as shards, and a config of a small network."""
    draw_voc(folder / "drawn", train=24, val=8, seed=1)
    for split in ("train", "val"):
        write_shards(read_voc(folder / "drawn", [f"2007:{split}"]), folder / split, shard_mb=0.15)
    (folder / "some.weights").touch()
    text = f"""
run: runs/tiny
epochs: 1
data:
  train: {folder}/train
  val: {folder}/val
  batch: 8
  sides: [64]
  workers: 0
model: {{width: 0.0625}}
evaluate: {{side: 64, batch: 4}}
board: {{every_batches: 1}}
"""
    (folder / "tiny.yaml").write_text(text)
    (folder / "piped.yaml").write_text(text.replace(f"val: {folder}/val", 'val: "pipe:touch ran; cat {}"'))


def processes_with(mark: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def judge(row: Row, shared: Path, folder: Path, silent: int) -> str | None:
    """What is wrong; None: nothing."""
    mark = f"FAULT=row-{uuid4()}"
    environ = {**os.environ, "T": str(shared), "ROOT": str(ROOT), "PY": sys.executable, "PYTHONPATH": str(ROOT)}
    environ |= {"OMP_NUM_THREADS": "1", "SILENT": str(silent), **dict([mark.split("=")])}
    script = SHELL + row.script
    with (folder / "output").open("wb") as output:
        try:
            process = subprocess.Popen(["bash", "-c", script], cwd=folder, env=environ, stdout=output, stderr=output)
            status = process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            status = -1
    end = time.monotonic() + GONE_S
    while (left := processes_with(mark)) and time.monotonic() < end:
        time.sleep(0.1)
    for number in left:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    said = (folder / "output").read_text(errors="replace")
    if status == -1:
        return f"did not end in {LIMIT_S} s: {said[-300:]}"
    if status != row.status:
        return f"exit status {status}, expected {row.status}: {said[-300:]}"
    if TRACEBACK in said:
        return f"a traceback: {said[-500:]}"
    if not re.search(row.said, said):
        return f"expected {row.said}, said {said[-300:]}"
    return f"{len(left)} processes are still there" if left else None


def main() -> None:
    words = sys.argv[1:]
    if {"-h", "--help"} & set(words):
        print(__doc__)
        return
    rows = [row for row in ROWS if not words or any(word in row.fault for word in words)]
    bad = 0
    with tempfile.TemporaryDirectory() as temporary, socket.create_server(("127.0.0.1", 0)) as server:
        shared = Path(temporary)
        prepare(shared)
        for number, row in enumerate(rows):
            folder = shared / f"row{number}"
            folder.mkdir()
            began = time.monotonic()
            wrong = judge(row, shared, folder, server.getsockname()[1])
            bad += wrong is not None
            print(f"{'not' if wrong else 'ok':<4}{time.monotonic() - began:6.1f} s  {row.fault}", flush=True)
            if wrong:
                print(f"    {wrong}".replace("\n", "\n    "), flush=True)
    print(f"{len(rows) - bad} of {len(rows)} faults end as they should")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
