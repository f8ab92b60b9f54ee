"""Rows: SIGTERM and Ctrl-C wherever time is spent: gone within 2 seconds, nothing half-written, one line."""

from benchmarks.faults.judge import Row

SILENT = "data.train=http://127.0.0.1:$SILENT/set data.staging=s"
NOTHING_TRAINED = r"stopped before the first step; nothing was trained\ngone after [012] s"
INTERRUPTED = r"error: interrupted\ngone after [012] s"
SAVED = r"gone after [0-5] s(?s:.*)interrupted"
#: where training spends its time before the first step
WAITS = {
    "a set at a silent server": f"begin_training {SILENT}; until_started",
    "a command without output": "begin_training 'data.train=pipe:sleep 200; cat {}' data.staging=s; until_started",
    "another attempt holds the run": "mkdir run; touch run/lock; hold run/lock; begin_training; until_started",
    "another run draws the set": "hold p; begin_training drawn.pictures=p data.train=a data.val=b; until_started",
    "drawing its set": (
        "begin_training drawn.pictures=p drawn.train=90000 data.train=a data.val=b; until_there p/*/J*/*.jpg"
    ),
}
#: where rank 0 works while rank 1 waits for it
TOGETHER = {
    "drawing its set": (
        "begin_pair drawn.pictures=p drawn.train=90000 data.train=a data.val=b; until_there p/*/J*/*.jpg"
    ),
    "waiting for another run's set": (
        "hold p; begin_pair drawn.pictures=p data.train=a data.val=b; until_started; sleep 2"
    ),
}
TRAINING = "begin_training $LONG checkpoint.every_images=24 "

ROWS = [
    *(
        Row(f"{wait}, then SIGTERM", f"{script}; end_by TERM; release", 0, NOTHING_TRAINED)
        for wait, script in WAITS.items()
    ),
    Row(
        "a set at a silent server, then Ctrl-C", f"begin_training {SILENT}; until_started; end_by INT", 130, INTERRUPTED
    ),
    *(
        Row(
            f"two processes {wait}, then SIGTERM",
            f"{script}; kill -TERM $other; end_by TERM; ended; wait $other; cat said1; echo rank 1: $?; release",
            0,
            NOTHING_TRAINED + "(?s:.*)rank 1: 0",
        )
        for wait, script in TOGETHER.items()
    ),
    Row(
        "drawing, then Ctrl-C",
        "begin -m data.sources.shapes out --train 90000; until_there out/*/J*/*.jpg; end_by INT; ended; "
        "find -name '*.txt'",
        130,
        INTERRUPTED + "(?s:(?!train.txt).)*$",
    ),
    Row(
        "writing shards, then SIGTERM",
        "begin -m data.shards voc $T/drawn --split 2007:train out --shard-mb 0.1; until_there out; end_by TERM; "
        "ended; ls out",
        130,
        INTERRUPTED + r"(?s:(?!\.part|index.json).)*$",
    ),
    Row(
        "exporting, then SIGTERM",
        "cp -r $T/trained run; begin -m train.export run --to onnx; until_there run/.export-*; end_by TERM; ended; "
        "ls -A run",
        130,
        INTERRUPTED + r"(?s:(?!\.export).)*$",
    ),
    Row(
        "detecting, then SIGTERM",
        "mkdir p; for i in {1..999}; do cp $T/drawn/VOC2007/JPEGImages/000001.jpg p/$i.jpg; done; "
        "begin -m train.detect $T/trained p --out out; until_there out/9.jpg; end_by TERM; ended; ls out | grep json",
        130,
        INTERRUPTED + r"\ndetections\.json\n$",
    ),
    Row(
        "importing, then Ctrl-C",
        "begin -m train.score $T/trained; until_true grep -qs numpy /proc/$run/maps; end_by INT",
        130,
        INTERRUPTED,
    ),
    Row(
        "scoring, then SIGTERM",
        "begin -m train.score $T/trained --out out; until_there out; end_by TERM; ended; ls -A out",
        130,
        INTERRUPTED + r"\n$",
    ),
    Row(
        "suggesting a config, then SIGTERM",
        "begin -m train.suggest $T/train --minutes 0.02; until_said images/s; end_by TERM; ended; "
        "grep batch: said; true",
        130,
        INTERRUPTED + r"\n$",
    ),
    Row(
        "checking a job before it is submitted, then SIGTERM",
        f"begin -m launch.submit $T/tiny.yaml run=r gpus_per_node=0 {SILENT} --check; "
        "until_true eval 'ps -o pid= --ppid $run > child'; sleep 1; end_by TERM; ended; xargs ps -p < child",
        130,
        INTERRUPTED + r"(?s:(?!train.check).)*$",
    ),
    Row(
        "checking a set at a silent server, then Ctrl-C",
        f"begin -m train.check $TINY {SILENT}; until_true has_socket; end_by INT",
        130,
        INTERRUPTED,
    ),
    Row("SIGTERM while training", TRAINING + "; until_said 'epoch .*images/s'; end_by TERM; ended; ls run", 0, SAVED),
    Row(
        "Ctrl-C while training",
        TRAINING + "data.workers=2; until_said 'epoch .*images/s'; end_by INT",
        130,
        INTERRUPTED,
    ),
    Row(
        "SIGTERM while the next shard is on its way",
        TRAINING + "'data.train=pipe:test {} != shard-000002.tar || sleep 200; cat $T/train/{}' data.staging=s "
        "data.window=1; until_there s/*/shard-000001.tar; sleep 5; end_by TERM; ended; ls run",
        0,
        SAVED,
    ),
    Row(
        "SIGTERM while the disk of the shards hangs",
        "failing pread train/shard FAULT_SLEEP=100 FAULT_ARM=$PWD/hangs; " + TRAINING + "data.workers=1; "
        "until_said 'epoch .*images/s'; touch hangs; sleep 8; end_by TERM; ended; ls run",
        0,
        SAVED,
        "gcc",
    ),
    Row(
        "Ctrl-C while a checkpoint is written slowly, then the next start",
        "failing fsync checkpoints/ FAULT_SLEEP=8 FAULT_ARM=$PWD/slow; "
        + TRAINING
        + "; until_said 'epoch .*images/s'; "
        "touch slow; until_there run/checkpoints/*.part; kill -INT $run; sleep 1; unset LD_PRELOAD; train epochs=40; "
        "ended; wait $run; cat said; ls -a run/checkpoints",
        0,
        r"resumes after(?s:.*)the last checkpoint is still being written(?s:(?!\.part).)*$",
        "gcc",
    ),
]
