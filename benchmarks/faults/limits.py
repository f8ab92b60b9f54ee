"""Rows: limits of a process: files, address space, memory, a home, /dev/shm."""

from benchmarks.faults.judge import Row

ROWS = [
    Row("no home", "env -u HOME $PY -m train.capacity $T/tiny.yaml --gb 8", 0, "images"),
    Row("an impossible home, training", "HOME=/proc/nowhere train", 0, "best mAP"),
    Row("24 file descriptors", "ulimit -n 24; train", 0, "best mAP"),
    Row(
        "24 file descriptors, two loader processes",
        "ulimit -n 24; train data.workers=2",
        1,
        "error: .*Too many open files.*ulimit -n",
    ),
    Row(
        "24 file descriptors, checked",
        "ulimit -n 24; $PY -m train.check $TINY data.workers=2",
        1,
        "error: .*ulimit -n",
    ),
    Row("4 GB of address space", "ulimit -v 4000000; train", 0, "best mAP"),
    Row(
        "files of 500 kB at most",
        "ulimit -f 500; train",
        1,
        "error: .*found a limit of 0.5 MB; raise it with ulimit -f",
    ),
    Row("1 GB of address space", "ulimit -v 1000000; train data.sides=[608] data.batch=24", 1, "error: out of memory"),
    Row(
        "/dev/shm is full, two loader processes",
        "small_disk 64k /dev/shm; fill /dev/shm; train data.workers=2",
        1,
        "error: data.workers: expected room and rights in /dev/shm .*No space left",
        "root",
    ),
    Row(
        "no room for temporary files",
        "small_disk 64k tmp; fill tmp; TMPDIR=$PWD/tmp train",
        0,
        "best mAP",
        "root",
    ),
]
