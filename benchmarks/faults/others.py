"""Rows: other runs, other users and earlier starts in the same folder."""

from benchmarks.faults.judge import Row

BOTH = '; start $T/tiny.yaml run=run2 "${words[@]}" && await'

ROWS = [
    Row(
        "two that write one set of shards",
        "hold out; $PY -m data.shards voc $T/drawn --split 2007:train out; ended; release",
        1,
        "error: out: another process is writing shards there",
    ),
    Row(
        "two runs that draw one set",
        "words=(drawn.pictures=p drawn.train=24 drawn.val=8 data.train=a data.val=b); begin_training ${words[@]}"
        + BOTH,
        0,
        "best mAP(?s:.*)best mAP",
    ),
    Row(
        "two runs with one staging folder",
        'words=("data.train=pipe:sleep 1; cat $T/train/{}" data.staging=s); begin_training "${words[@]}"' + BOTH,
        0,
        "best mAP(?s:.*)best mAP",
    ),
    Row(
        "two starts of one run",
        "begin_training epochs=3; until_started; train epochs=3 && await; ended; ls -a run/checkpoints",
        0,
        r"best mAP(?s:.*)best mAP(?s:(?!\.part).)*$",
    ),
    Row(
        "a cache of decoded images that another user made",
        "mkdir c; chown 65534 c; train data.decoded_cache=c",
        1,
        "error: c: expected a folder of this user",
        "root",
    ),
    Row(
        "a config that the user wrote into the run's folder",
        "mkdir run; sed s,runs/tiny,run, $T/tiny.yaml > run/config.yaml; cp run/config.yaml mine; "
        "start run/config.yaml; ended; cmp mine run/config-1.yaml && ls run",
        0,
        "kept as run/config-1.yaml(?s:.*)finished",
    ),
    Row(
        "other shards since the run ended",
        "cp -r $T/trained run; train data.train=$T/val epochs=6; ended; ls run",
        0,
        "data.train: .* holds other shards than at the last start .images then 24, now 8.(?s:.*)finished",
    ),
    Row(
        "other classes since the run ended",
        "cp -r $T/trained run; train data.train=$T/named/train data.val=$T/named/val",
        1,
        "error: .*the weights belong to another network",
    ),
]
