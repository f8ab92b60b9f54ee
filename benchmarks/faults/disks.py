"""Rows: disks that are full, read-only, broken or another user's, before a command and during it."""

from benchmarks.faults.judge import Row

ELSEWHERE = "mkdir run; chown 65534 run; setpriv --bounding-set -dac_override,-dac_read_search --inh-caps -all"
NO_PART = r"(?s:(?!\.part).)*$"

ROWS = [
    Row(
        "no room for checkpoints, checked",
        "small_disk 64k run; $PY -m train.check $TINY",
        1,
        "error: .*expected room for",
        "root",
    ),
    Row(
        "no room for one checkpoint",
        "small_disk 64k run; train",
        1,
        r"(?s:(?!warm-up).)*error: .*expected room for a checkpoint of 3\.\d MB, found",
        "root",
    ),
    Row(
        "no room for all checkpoints, the board and decoded images",
        "small_disk 5m run; small_disk 64k c; train data.decoded_cache=c",
        0,
        r"run/checkpoints: expected room for 13\.\d MB of checkpoints(?s:.*)board: expected room for(?s:.*)"
        r"decoded each time(?s:.*)warm-up(?s:.*)best mAP",
        "root",
    ),
    Row(
        "no room for staged shards",
        'small_disk 16k s; train "data.train=pipe:cat $T/train/{}" data.staging=s',
        1,
        "s: expected room for .* of shards of(?s:.*)error: .*expected room",
        "root",
    ),
    Row(
        "the disk of the checkpoints fills up",
        "small_disk 8m run; begin_training $LONG checkpoint.every_images=24; "
        "until_there run/checkpoints/0*.pt; fill run; await; ended; ls run/checkpoints/",
        1,
        r"error: run/checkpoints: .*could not be written .*No space left(?s:.*)\d{9}-[0-9a-f]{16}\.pt\n" + NO_PART,
        "root",
    ),
    Row(
        "a checkpoint cannot be synced",
        "failing fsync checkpoints/ FAULT_ERRNO=5; train; ended; ls -a run/checkpoints",
        1,
        "could not be written .*Input/output error" + NO_PART,
        "gcc",
    ),
    Row(
        "the names of a run's sets cannot be synced",
        "failing fsync run/sets.json FAULT_ERRNO=28; train",
        1,
        "error: .*No space left on device: 'run/sets.json'",
        "gcc",
    ),
    Row(
        "nothing can be written into a run's lock",
        "failing write run/lock FAULT_ERRNO=28; train; ended; ls run",
        0,
        "best mAP(?s:.*)finished",
        "gcc",
    ),
    Row(
        "a run folder on a read-only disk",
        "small_disk 1m run; mount -o remount,ro run; train",
        1,
        "error: .*Read-only file system: 'run",
        "root",
    ),
    Row(
        "a run folder of another user, checked",
        f"{ELSEWHERE} $PY -m train.check $TINY",
        1,
        "error: run/checkpoints: expected a folder that this user can write to",
        "root",
    ),
    Row(
        "odd things among the checkpoints",
        "cp -r $T/trained run; cd run/checkpoints; ln -s nowhere 000000099-0123456789abcdef.pt; "
        "mkdir 000000098-0123456789abcdef.pt; cp best-*.pt 000001copy.pt; cd ../..; train epochs=2" + "; ended; ls run",
        0,
        "link to nothing(?s:.*)it is a folder(?s:.*)resumes after 24 images(?s:.*)finished",
    ),
    Row(
        "a checkpoint that was renamed to a later position",
        "cp -r $T/trained run; (cd run/checkpoints; cp 0*.pt 000000999-$(echo 0*.pt | cut -c 11-)); train epochs=2; "
        "ended; ls run",
        0,
        "says 999 images, its progress 24(?s:.*)resumes after 24 images(?s:.*)finished",
    ),
    Row(
        "the configs of a run lie on bad blocks",
        "cp -r $T/trained run; failing read run/starts FAULT_ERRNO=5; train epochs=2; ended; ls run",
        0,
        "cannot be read .Input/output error.(?s:.*)resumes after 24 images(?s:.*)finished",
        "gcc",
    ),
    Row(
        "an index lies on a bad block",
        "failing read train/index.json FAULT_ERRNO=5; train",
        1,
        "error: .*Input/output error: '.*train/index.json'",
        "gcc",
    ),
    Row(
        "the newest checkpoint lies on a bad block",
        "cp -r $T/trained run; failing read run/checkpoints/0 FAULT_ERRNO=5; train epochs=2; ended; ls run",
        0,
        "Input/output error(?s:.*)resumes after 24 images(?s:.*)finished",
        "gcc",
    ),
    Row(
        "no room for shards",
        "small_disk 64k out; $PY -m data.shards voc $T/drawn --split 2007:train out; ended; ls out",
        1,
        "error: .*No space left(?s:(?!index.json).)*$",
        "root",
    ),
    Row(
        "the staging disk fills up",
        "small_disk 4m s; "
        'begin_training "data.train=pipe:head -c 20000 $T/train/{}; sleep 5; tail -c +20001 $T/train/{}" '
        "data.staging=s; until_there s/*/*.part; fill s; await",
        1,
        "error: .*No space left",
        "root",
    ),
    Row(
        "a shard has bad blocks",
        "failing pread train/shard-000000.tar FAULT_ERRNO=5; train data.max_faults=100",
        0,
        r"replaced an unreadable image: shard-000000\.tar/\w+: .*Input/output error",
        "gcc",
    ),
    Row(
        "a shard that is evaluated has bad blocks",
        "failing pread val/shard-0 FAULT_ERRNO=5; train",
        1,
        r"error: cannot evaluate: shard-000000\.tar/\w+: .*Input/output error",
        "gcc",
    ),
    Row(
        "a shard that was cut",
        "cp -r $T/train cut; truncate -s 1000 cut/shard-000000.tar; train data.train=cut",
        1,
        "error: .*shard-000000.tar",
    ),
    Row(
        "a shard is cut during the run",
        "cp -r $T/train cut; begin_training data.train=cut $LONG data.max_faults=5; until_said 'epoch .*images/s'; "
        "truncate -s 1000 cut/shard-000000.tar; await",
        1,
        r"error: .*unreadable images(?s:.*)shard-000000\.tar",
    ),
    Row(
        "a shard is overwritten by another set's during the run",
        "cp -r $T/train cut; begin_training data.train=cut $LONG data.max_faults=5; until_said 'epoch .*images/s'; "
        "cat $T/val/shard-000000.tar > cut/shard-000000.tar; await",
        1,
        r"error: .*unreadable images(?s:.*)shard-000000\.tar",
    ),
    *(
        Row(
            f"index.npz is {fault}, {workers} loader processes",
            f"cp -r $T/train cut; begin_training data.train=cut $LONG data.workers={workers}; "
            f"until_said 'epoch .*images/s'; {command}; await",
            1,
            r"\nerror: .*cut/index\.npz was [^\n]*start again\ngone after \d s",
        )
        for workers in (0, 2)
        for fault, command in (
            ("cut during the run", "truncate -s 100 cut/index.npz"),
            ("overwritten during the run", "cat $T/val/index.npz > cut/index.npz"),
        )
    ),
    Row(
        "index.npz is replaced by a new file of the same bytes during the run",
        "cp -r $T/train cut; begin_training data.train=cut epochs=200 evaluate.every_epochs=200; "
        "until_said 'epoch .*images/s'; cp cut/index.npz new; cat new > cut/index.npz; touch cut/index.npz; await",
        0,
        r"4,800 images seen",
    ),
    Row(
        "a file where decoded images go",
        "touch c; train data.decoded_cache=c",
        1,
        "(?s:(?!warm-up).)*error: c: expected a folder, found a file",
    ),
    Row(
        "no room for decoded images, two loader processes",
        "small_disk 64k c; train epochs=2 data.workers=2 data.decoded_cache=c",
        0,
        "data.decoded_cache takes no more images",
        "root",
    ),
    Row(
        "no room for decoded images, checked",
        "small_disk 64k c; $PY -m train.check $TINY data.decoded_cache=c",
        0,
        "c: .* of decoded images, .*; images that do not fit are decoded each time",
        "root",
    ),
]
