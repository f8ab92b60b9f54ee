"""Rows: what users write on the command line and in configs, and what third-party files contain."""

from benchmarks.faults.judge import Row

#: what the config says, and the error
CONFIGS = {
    "a list as config": ("- 1", "expected YAML of `key: value`"),
    "a config that builds objects": ("a: !!python/name:os.system", "constructor"),
    "a config of nested aliases": (
        """$(echo 'a0: &a0 [x, x]'; for n in {1..120}; do echo "a$n: &a$n [*a$((n - 1)), *a$((n - 1))]"; done)""",
        "expected at most 100 aliases",
    ),
    "a config of 2 MB": (r"$(head -c 2000000 /dev/zero | tr '\0' x)", "found 2,000,001"),
}
#: what `train` gets, and the error
WORDS = {
    "a config that reads the environment": ("data.val='http://h/${oc.env:HOME}'", "oc.env"),
    "a password in an address": ("data.train=http://me:secret@host/set", "^(?!(?s:.*secret)).*user"),
    "a token in an address": ("'data.train=http://host/set?sig=secret'", "^(?!(?s:.*secret)).*staging"),
    "missing weights": ("weights=/nowhere/a.weights", "error: .*/nowhere/a.weights"),
    "missing shards": ("data.train=$PWD", "error: no shards at"),
    "an impossible run folder": ("run=/proc/run", "error: .*found .*: ./proc/run.; correct the path or choose"),
    "anchors in pixels": ("anchors=[10,13,16,30]", "error: .*anchors"),
    "a rate that is not a number": ("schedule.rate=nan", "error: .*schedule.rate"),
}
#: lines of a .cfg, and the error
CFGS = {
    "a cfg of 1,000,000,000 filters": (
        r"[convolutional]\nfilters=1000000000\nsize=1\n[convolutional]\nfilters=125\nsize=1\nactivation=linear\n"
        r"[region]\nanchors=1,1,2,2,3,3,4,4,5,5\nclasses=20\nnum=5",
        "error: .*filters=1000000000",
    ),
    "a cfg that is something else": ("hello", "error: .*a.cfg"),
}
NOT_RUN = r"data.val is a command(?s:(?!\nran\n).)*$"  # the command would leave a file called ran

ROWS = [
    Row("no config", "start nowhere.yaml", 1, "error: no config at nowhere.yaml"),
    Row("a folder as config", "start $T", 1, "error: no config at"),
    Row("a config in UTF-16", r"printf '\xff\xfea' > a.yaml; start a.yaml", 1, "YAML in UTF-8"),
    *(Row(fault, f'echo "{text}" > a.yaml; start a.yaml', 1, said) for fault, (text, said) in CONFIGS.items()),
    *(Row(fault, f"train {words}", 1, said) for fault, (words, said) in WORDS.items()),
    *(
        Row(fault, f"printf '[net]\\nwidth=416\\nheight=416\\n{text}\\n' > a.cfg; start a.cfg run=run", 1, said)
        for fault, (text, said) in CFGS.items()
    ),
    Row("a command in a config, trained", "start $T/piped.yaml run=run; ended; ls", 1, NOT_RUN),
    Row("a command in a config, checked", "$PY -m train.check $T/piped.yaml run=run; ended; ls", 1, NOT_RUN),
    Row(
        "a command in a run's config, scored",
        "mkdir run; cp $T/piped.yaml run/config.yaml; $PY -m train.score run weights=$T/some.weights; ended; ls",
        1,
        NOT_RUN,
    ),
    Row(
        "tokens in addresses, checked, trained and scored",
        "serve; at=http://127.0.0.1:$port; set -e; val=data.val=$at/val?sig=secret; "
        "words=(data.train=$at/train?sig=secret data.staging=s $val); $PY -m train.check $TINY ${words[@]}; "
        "train ${words[@]}; train ${words[@]} data.classes=[a] || $PY -m train.score run data.staging=s $val --out o; "
        "set +e; grep -rl secret . || echo hidden",
        0,
        "/val: 8 images(?s:.*)error: the shards at(?s:.*)missed(?s:.*)\nhidden\n$",
    ),
    Row("a file where the run's folder goes", "touch run; train", 1, "error: .*run"),
    Row("a job with a run called -x", "$PY -m launch.submit $T/tiny.yaml run=-x --dry-run", 1, "expected `run`"),
    Row("a time limit in other digits", "$PY -m launch.submit $T/tiny.yaml time=٣٠:00 --dry-run", 1, "a limit such"),
    Row(
        "a config whose folder has a = in its name",
        "mkdir lr=0.1; cp $T/tiny.yaml lr=0.1/; $PY -m launch.submit lr=0.1/tiny.yaml run=r gpus_per_node=0 --dry-run",
        0,
        "arguments=",
    ),
]  # fmt: skip
