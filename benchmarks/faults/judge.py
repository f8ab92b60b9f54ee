"""A row of the table, the shell functions it can use, and whether it ended as it should."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

from benchmarks.faults.calls import compiled
from data.shards.writing.write import write_shards
from data.sources.shapes import draw_voc
from data.sources.voc import read_voc

ROOT = Path(__file__).resolve().parents[2]
ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
LIMIT_S = 300
GONE_S = 10.0
#: bare ones: not torchrun's own after its processes have ended
TRACEBACK = re.compile(r"Traceback \(most recent call last\):\n(?!(?:.*[|].*\n|[ ].*\n)+torch\.distributed\.elastic\.)")
SHELL = r"""
TINY="$T/tiny.yaml run=run"
start() { "$PY" "$ROOT/train/main.py" "$@"; }
train() { start $TINY "$@"; }
# a command in the background: what it says goes into the file `said`
begin() { env --default-signal=INT "$PY" "$@" > said 2>&1 & run=$!; }
begin_training() { begin "$ROOT/train/main.py" $TINY "$@"; }
LONG="epochs=10000 evaluate.every_epochs=10000"  # without an evaluation, whose processes would be just starting
# two processes of one run, each as a launcher starts it; those of rank 0 are $run, of rank 1 $other
begin_pair() {
    port=$("$PY" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
    export WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port GLOO_SOCKET_IFNAME=lo
    RANK=1 LOCAL_RANK=1 "$PY" "$ROOT/train/main.py" $TINY "$@" > said1 2>&1 & other=$!
    RANK=0 LOCAL_RANK=0 "$PY" "$ROOT/train/main.py" $TINY "$@" > said 2>&1 & run=$!
}
until_true() { for i in $(seq 1200); do "$@" && return; sleep 0.1; done; echo "never: $*"; }
until_said() { until_true grep -qs "$1" said; }
until_there() { until_true eval "ls -d $*" > there 2>&1; }  # patterns are expanded again each time
has_lock() { ls -l /proc/$run/fd 2>&1 | grep -q run/lock; }
has_socket() { ls -l /proc/$run/fd 2>&1 | grep -q socket; }
until_started() { until_true has_lock; sleep 1; }
# the processes below $1, one a line, whose command line has the word $2
below() {
    for child in $(ps -o pid= --ppid "$1"); do
        ps -o args= -p $child | grep -qe "$2" && echo $child
        below $child "$2"
    done
}
# another process holds the lock on a file or a folder, until `release`
hold() { [ -e "$1" ] || mkdir "$1"; (exec 9< "$1"; flock 9; exec sleep 200) & holder=$!; sleep 0.5; }
release() { left=$?; [ -z "$holder" ] || kill $holder; return $left; }
# gives $run the signal $1 and waits for it: what it said, how long it took, and its exit status
end_by() { began=$(date +%s%N); kill -$1 $run; await; }
await() {
    began=${began:-$(date +%s%N)}; wait $run; status=$?; cat said
    echo "gone after $(( ($(date +%s%N) - began) / 1000000000 )) s"; (exit $status)
}
# the rest of the script runs with the exit status of the command before it
ended() { status=$?; trap 'exit $status' EXIT; }
# serves $T at 127.0.0.1:$port, until the rest of the script ends
serve() {
    "$PY" -u -m http.server --bind 127.0.0.1 --directory "$T" 0 > served 2> /dev/null & server=$!
    trap 'kill $server' EXIT; until_true grep -qs port served; port=$(grep -o 'port [0-9]*' served | cut -c 6-)
}
small_disk() { mkdir -p "$2"; mount -t tmpfs -o size=$1 tmpfs "$2"; }
fill() { dd if=/dev/zero of="$1/filling" bs=4k 2> /dev/null; true; }
# calls that fail: CALLS, part of the file's name, variables of calls.c
failing() { export LD_PRELOAD=$T/calls.so FAULT_CALLS=$1 FAULT_PATH=$2; export "${@:3}"; }
"""


class Row(NamedTuple):
    fault: str
    script: str  # bash, in its own folder, with SHELL's functions, $T (shared), $PY, $ROOT and $SILENT
    status: int
    said: str  # a regular expression
    needs: str = ""  # root: mounts, other users; gcc: calls that fail


def prepare(folder: Path) -> None:
    """Makes shards of a few pictures, a config of a small network, names that are hard to show, calls that fail."""
    draw_voc(folder / "drawn", train=24, val=8, seed=1)
    for split in ("train", "val"):
        write_shards(read_voc(folder / "drawn", [f"2007:{split}"]), folder / split, shard_mb=0.15)
    draw_named(folder)
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
    train = [sys.executable, str(ROOT / "train/main.py"), str(folder / "tiny.yaml"), f"run={folder / 'trained'}"]
    subprocess.run(train, check=True, capture_output=True, env=ENVIRON)
    compiled(folder)


def draw_named(folder: Path) -> None:
    """The same pictures with classes that are hard to show."""
    shutil.copytree(folder / "drawn/VOC2007", folder / "named/VOC2007")
    for path in (folder / "named/VOC2007/Annotations").iterdir():
        path.write_text(
            path.read_text().replace("<name>circle<", "<name>valve [open]<").replace("<name>ring<", "<name>图<")
        )
    for split in ("train", "val"):
        write_shards(read_voc(folder / "named", [f"2007:{split}"]), folder / "named" / split)


def lacks(row: Row, shared: Path) -> str | None:
    """The row's requirement that this machine lacks, if any."""
    if "root" in row.needs and os.geteuid():
        return "root"
    return "gcc" if "gcc" in row.needs and not (shared / "calls.so").exists() else None


def processes_with(mark: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def _command_line(number: int) -> str:
    try:
        return Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    except OSError:
        return "one that has just ended"


def judge(row: Row, shared: Path, folder: Path, silent: int) -> str | None:
    """The problem with the result, if any."""
    mark = f"FAULT=row-{uuid4()}"
    environ = {**ENVIRON, "T": str(shared), "ROOT": str(ROOT), "PY": sys.executable, "SILENT": str(silent)}
    environ |= dict([mark.split("=")])
    alone = ["unshare", "--mount"] if "root" in row.needs else []  # its mounts end with it
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [*alone, "bash", "-c", SHELL + row.script], cwd=folder, env=environ, stdout=output, stderr=output
        )
        try:
            status = process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            status = -1
    end = time.monotonic() + GONE_S
    while (left := processes_with(mark)) and time.monotonic() < end:
        time.sleep(0.1)
    stayed = [_command_line(number) for number in left]
    for number in left:
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    process.wait()
    said = (folder / "output").read_text(errors="replace")
    if status == -1:
        return f"did not end in {LIMIT_S} s: {said[-300:]}"
    if status != row.status:
        return f"exit status {status}, expected {row.status}: {said[-300:]}"
    if TRACEBACK.search(said):
        return f"a traceback: {said[-500:]}"
    if not re.search(row.said, said):
        return f"expected {row.said}, said {said[-300:]}"
    return f"{len(stayed)} processes are still there: {'; '.join(stayed)}" if stayed else None
