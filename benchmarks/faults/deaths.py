"""Rows: processes of a run that are killed or hang. Within 10 seconds all end, the cause last."""

from benchmarks.faults.judge import Row

TRAINING = "begin_training $LONG data.workers=1; until_said 'epoch .*images/s'; "
PAIR = "begin_pair $LONG data.workers=1; until_said 'epoch .*images/s'; "
#: loader processes, and how to find them
HELPERS = {
    "the loader process": "$(below $run forkserver | sed -n 2p)",
    "the fork server": "$(below $run forkserver | head -n 1)",
    "the resource tracker": "$(below $run resource_tracker | head -n 1)",
}
KILLED = "error: a loader process was killed"
GONE = "another process is gone"

ROWS = [
    Row("the training process is killed, its loader process ends", TRAINING + "end_by KILL", 137, "gone after"),
    Row(
        "torchrun is killed while its processes start",
        "begin -m torch.distributed.run --standalone --nproc-per-node=2 $ROOT/train/main.py $TINY; "
        "until_true eval '[ $(ps -o pid= --ppid $run | wc -l) = 2 ]'; end_by KILL; ended; sleep 5",
        137,
        "gone after",
    ),
    Row(
        "the whole job is killed, nothing of it is left in /dev/shm",
        TRAINING
        + "grep -o '/dev/shm/sem[^ ]*' /proc/$run/maps > names; kill -KILL $(below $run .); end_by KILL; ended; "
        "wc -l < names; ls $(cat names) 2>&1 | grep -cv 'cannot access'",
        137,
        r"gone after \d s\n[1-9]\d*\n0\n$",
    ),
    Row(
        "the loader process is killed",
        f"{TRAINING}kill -KILL {HELPERS['the loader process']}; await",
        1,
        KILLED + r"(?s:.*)gone after \d s",
    ),
    Row(
        "the fork server is killed",
        f"{TRAINING}kill -KILL {HELPERS['the fork server']}; await",
        1,
        KILLED + r"(?s:.*)gone after \d s",
    ),
    Row(
        "the resource tracker is killed, then SIGTERM",
        f"{TRAINING}kill -KILL {HELPERS['the resource tracker']}; sleep 1; end_by TERM; ended; ls run",
        0,
        r"gone after [0-5] s(?s:.*)interrupted",
    ),
    Row(
        "the fork server is stopped, then SIGTERM",
        f"{TRAINING}kill -STOP {HELPERS['the fork server']}; sleep 3; end_by TERM; ended; ls run",
        0,
        r"gone after [0-5] s(?s:.*)interrupted",
    ),
    Row(
        "the loader process of one of two ranks is killed",
        f"{PAIR}kill -KILL {HELPERS['the loader process']}; await; ended; wait $other; echo rank 1: $?; cat said1",
        1,
        KILLED + rf"(?s:.*)rank 1: 1(?s:.*)error: rank 1 of 2.*{GONE}",
    ),
    Row(
        "SIGTERM to one of two ranks", f"{PAIR}end_by TERM; ended; wait $other && ls run", 0, r"after \d s(?s:.*)interr"
    ),
]
