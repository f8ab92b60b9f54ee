"""Rows: consoles, boards and reports that fail. A failing display ends nothing."""

from benchmarks.faults.judge import Row

CAPACITY = "$PY -m train.capacity $T/tiny.yaml --gb 8"
NAMED = "data.train=$T/named/train data.val=$T/named/val"
WHOLE = "; ended; test -e run/finished && ls run/checkpoints"  # after `train`
PICTURES = "$T/drawn/VOC2007/JPEGImages"

ROWS = [
    Row("a name that the console cannot show", "PYTHONIOENCODING=ascii $PY -m data.shards verify 图", 1, r"\?"),
    Row("a name with escape sequences", "$PY -m data.shards verify $'a\\e[2Jb'", 1, r"error: .*a\\x1b\[2Jb"),
    Row("standard output is closed", f"{CAPACITY} >&-", 0, ""),
    Row("standard output is full", f"{CAPACITY} > /dev/full", 1, "No space left"),
    Row("a reader leaves", f"{CAPACITY} | head -n 1; exit ${{PIPESTATUS[0]}}", 0, "images"),
    Row("a reader leaves, training", "train | head -n 1; (exit ${PIPESTATUS[0]})" + WHOLE, 0, "best-000000024"),
    Row(
        "a class in brackets, on a terminal",
        f'script -qec "$PY $ROOT/train/main.py $TINY {NAMED}" /dev/null' + WHOLE,
        0,
        r"valve \[open\](?s:.*)best-000000024",
    ),
    Row(
        "a class in Chinese, on a console of Latin-1",
        f"PYTHONIOENCODING=latin-1 train {NAMED}" + WHOLE,
        0,
        r"\\u56fe(?s:.*)best-000000024",
    ),
    Row(
        "the disk of the board is full",
        "small_disk 16k run/board; fill run/board; train" + WHOLE,
        0,
        "TensorBoard log failed(?s:.*)best-000000024",
        "root",
    ),
    Row(
        "one picture of three does not decode",
        f"cp {PICTURES}/00000[12].jpg .; echo x > a.jpg; "
        "$PY -m train.detect $T/trained ./*.jpg --out out; ended; ls out",
        1,
        "error: .*a.jpg(?s:.*)detections.json",
    ),
    Row(
        "pipes in place of a run's results and digests",
        "mkdir run; mkfifo run/results.csv run/sets.json; train" + WHOLE,
        0,
        "results.csv failed .*expected a file(?s:.*)best-000000024",
    ),
    Row(
        "settings of matplotlib that do not exist, scored",
        "MPLBACKEND=nonsense $PY -m train.score $T/trained --out out; ended; ls out",
        1,
        "mAP(?s:.*)error: no charts: ValueError: .*nonsense(?s:.*)scores.json",
    ),
    Row(
        "the disk of the scores is full",
        "small_disk 16k out; fill out; $PY -m train.score $T/trained --out out",
        1,
        "mAP(?s:.*)error: .*scores.json could not be written: .*No space left",
        "root",
    ),
]
