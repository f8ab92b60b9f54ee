"""A run as a batch job of Slurm: slurm/train.sbatch with the values of this run, shown and submitted.

python -m launch.submit CONFIG [nodes=2 gpus_per_node=8 time=24:00:00 ...] [key=value ...] [--check | --dry-run]

--check says what the run would find and whether Slurm would take the job, --dry-run shows the script; both submit
nothing. The keys of a job are the fields of `Job`; all others are of the run, as train/main.py takes them.
"""

import difflib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "slurm/train.sbatch"
TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<fields>\d+(?::\d+){0,2})")
PLAIN = re.compile(r"[\w./+=-]+")  # what needs no quotes, and means nothing to Slurm


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a run asks of Slurm."""

    nodes: int = 1
    gpus_per_node: int = 8  #: one process each; 0: train on the CPU
    processes_per_node: int = 0  #: 0: one for each GPU, or one
    cpus_per_process: int = 8  #: for training and its loader processes (data.workers)
    time: str = "24:00:00"  #: of one allocation; a run takes as many as it needs
    warning: int = 300  #: seconds before the end of an allocation at which the run is asked to save and leave
    scratch: str = (
        ""  #: folder on a disk of each node, for staged shards and compiled code; else one in $TMPDIR or /tmp
    )
    after: str = ""  #: number of a job whose success the run waits for
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    reservation: str = ""
    exclude: str = ""
    mem: str = ""  #: of each node

    def __post_init__(self) -> None:
        if self.nodes < 1 or self.cpus_per_process < 1:
            raise ValueError(
                f"nodes={self.nodes}, cpus_per_process={self.cpus_per_process}: expected at least 1 of each"
            )
        if self.gpus_per_node < 0 or self.processes_per_node < 0:
            raise ValueError(
                f"gpus_per_node={self.gpus_per_node}, processes_per_node={self.processes_per_node}: expected 0 or more"
            )
        if self.gpus_per_node and self.processes_per_node not in (0, self.gpus_per_node):
            raise ValueError(
                f"processes_per_node={self.processes_per_node} with gpus_per_node={self.gpus_per_node}: expected one "
                "process for each GPU; leave processes_per_node out"
            )
        if self.warning < 30 or seconds(self.time) < 2 * self.warning:
            raise ValueError(
                f"time={self.time} with warning={self.warning}: expected at least 30 seconds of warning, and twice "
                "that much time: Slurm warns up to a minute early, and a run needs time to start"
            )
        for name in ("after", "partition", "account", "qos", "constraint", "reservation", "exclude", "mem"):
            if re.search(r"\s", getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)!r}: expected a value without spaces")

    @property
    def processes(self) -> int:
        """Of each node."""
        return self.processes_per_node or self.gpus_per_node or 1


def seconds(time: str) -> int:
    """Of a time limit as Slurm reads it: minutes, m:s, h:m:s, days-h, days-h:m, days-h:m:s."""
    found = TIME.fullmatch(time)
    if not found:
        raise ValueError(
            f"time={time}: expected a limit such as 24:00:00 (hours), 2-12 (days and hours) or 90 (minutes)"
        )
    numbers = [int(number) for number in found["fields"].split(":")]
    if found["days"] is None and len(numbers) < 3:
        numbers.insert(0, 0)  # minutes come first
    hours, minutes, rest = [*numbers, 0, 0][:3]
    return ((int(found["days"] or 0) * 24 + hours) * 60 + minutes) * 60 + rest


def parse(arguments: Sequence[str]) -> tuple[Job, list[str]]:
    """The job, and the overrides that are left for the run."""
    known = {field.name: field.type for field in fields(Job)}
    asked: dict[str, Any] = {}
    overrides = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals:
            raise ValueError(f"{argument!r}: expected key=value, such as nodes=2 or data.batch=32")
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, 0.8)
            if near and "." not in key:
                raise ValueError(f"{argument}: no such key of a job; did you mean {near[0]}={value}?")
            overrides.append(argument)
        elif known[key] is int:
            if not re.fullmatch(r"\d+", value):
                raise ValueError(f"{argument}: expected a whole number")
            asked[key] = int(value)
        else:
            asked[key] = value
    return Job(**asked), overrides


def read(config: str, overrides: Sequence[str]) -> DictConfig:
    """The file and the overrides as they stand, without the defaults, which are not known here."""
    if not Path(config).is_file():
        raise ValueError(f"no config at {config}; configs/ holds those of this project")
    try:
        written = OmegaConf.load(config)
        if not isinstance(written, DictConfig):
            raise ValueError("it holds something else, see configs/demo.yaml")
        tree = OmegaConf.merge(written, OmegaConf.from_dotlist(list(overrides)))
    except (OSError, ValueError, OmegaConfBaseException, YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{' '.join([config, *overrides])}: expected YAML of `key: value` lines ({reason})") from None
    assert isinstance(tree, DictConfig)
    return tree


def render(job: Job, template: str, config: str, overrides: Sequence[str], *, here: str, python: str, main: str) -> str:
    """The batch script; it runs in the folder `here`."""
    tree = read(config, overrides)
    run = OmegaConf.select(tree, "run")
    if not isinstance(run, str) or not PLAIN.fullmatch(run):
        raise ValueError(
            f"{config}: expected `run`, the folder of the run, of letters, digits and _ . / + = -, found {run!r}"
        )
    batch, world_size = OmegaConf.select(tree, "data.batch"), job.nodes * job.processes
    if isinstance(batch, int) and batch % world_size:
        raise ValueError(
            f"data.batch={batch} over {world_size} processes leaves a remainder; use a multiple of {world_size} or "
            "change nodes or gpus_per_node"
        )
    given = [config, *overrides]
    arguments = " ".join(shlex.quote(argument) for argument in given)
    if OmegaConf.select(tree, "data.staging") is None:
        arguments += ' "data.staging=$scratch/shards"'

    options = {
        "job-name": shlex.quote("{0.name}@{0.parent}".format(Path(here, run))),  # no other run has it
        "dependency": f"singleton,afterok:{job.after}" if job.after else "singleton",
        "nodes": str(job.nodes),
        "gpus-per-node": str(job.gpus_per_node),
        "cpus-per-task": str(job.processes * job.cpus_per_process),
        "time": job.time,
        "signal": f"B:USR1@{job.warning}",
        "output": f"{run}/logs/job-%j.log",
    }
    variables = {
        "run": run,
        "arguments": f"({arguments})",
        "main": shlex.quote(main),
        "python": shlex.quote(python),
        "processes": str(job.processes),
        "warning": str(job.warning),
        "export OMP_NUM_THREADS": "1" if job.gpus_per_node else str(job.cpus_per_process),
    }
    if job.scratch:
        variables["scratch"] = shlex.quote(job.scratch)
    text = template
    for name, value in options.items():
        text = _replaced(text, f"#SBATCH --{name}=", value)
    for name, value in variables.items():
        text = _replaced(text, f"{name}=", value)
    if not job.gpus_per_node:
        text = re.sub(r"^#SBATCH --gpus-per-node=0.*\n", "", text, flags=re.MULTILINE)
    added = "#SBATCH --kill-on-invalid-dep=yes\n" if job.after else ""  # else it waits for ever
    added += "".join(
        f"#SBATCH --{name}={value}\n"
        for name in ("partition", "account", "qos", "constraint", "reservation", "exclude", "mem")
        if (value := getattr(job, name))
    )
    return text.replace("#SBATCH --requeue", f"{added}#SBATCH --requeue", 1)


def _replaced(text: str, start: str, value: str) -> str:
    """The line that starts so with another value; its comment stays where it is, if there is room."""

    def line(found: re.Match[str]) -> str:
        return f"{start}{value} ".ljust(len(found[1])) + found[2] if found[2] else f"{start}{value}"

    pattern = rf"^({re.escape(start)}.*?)(?:(?<= )(# .*))?$"
    text, count = re.subn(pattern, line, text, flags=re.MULTILINE)
    assert count == 1, f"{start}: {count} lines of the template"
    return text


def submit(text: str) -> str:
    """The number of the new job."""
    return _sbatch(text, "--parsable").stdout.strip().partition(";")[0]


def _sbatch(text: str, option: str) -> "subprocess.CompletedProcess[str]":
    if shutil.which("sbatch") is None:
        raise ValueError(
            "no sbatch on this machine: submit on a login node of the cluster, or write the script to a file with "
            "--dry-run"
        )
    done = subprocess.run(["sbatch", option], input=text, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"sbatch refuses the job: {done.stderr.strip()}")
    return done


def check(job: Job, config: str, overrides: Sequence[str], place: Mapping[str, str]) -> bool:
    """Whether all is well. What the run says of itself is train.check's, a program of its own here."""
    command = [place["python"], "-m", "train.check", config, f"--processes={job.nodes * job.processes}", *overrides]
    try:
        if OmegaConf.select(read(config, overrides), "data.staging") is None:
            scratch = job.scratch or Path(tempfile.gettempdir(), f"yolov2-{os.getuid()}")  # as in the script
            command.append(f"data.staging={scratch}/shards")
        well = subprocess.run(command).returncode == 0
        said = _sbatch(render(job, TEMPLATE.read_text(), config, overrides, **place), "--test-only").stderr
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return False
    print(f"{'slurm':<12}{said.strip().removeprefix('sbatch: ')}")
    return well


def main(*arguments: str) -> None:
    dry_run, checks = "--dry-run" in arguments, "--check" in arguments
    config, *rest = [argument for argument in arguments if argument not in ("--dry-run", "--check")] or [""]
    if not config or "=" in config or config.startswith("-"):
        sys.exit(f"error: expected {(__doc__ or '').splitlines()[2]}")
    try:
        job, overrides = parse(rest)
        place = {"here": str(Path.cwd()), "python": sys.executable, "main": str(ROOT / "train/main.py")}
        if checks:
            sys.exit(not check(job, config, overrides, place))
        text = render(job, TEMPLATE.read_text(), config, overrides, **place)
        print(text, end="")
        if dry_run:
            return
        run = Path(read(config, overrides).run)
        (run / "logs").mkdir(parents=True, exist_ok=True)  # Slurm makes no folder for the log
        number = submit(text)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"\njob {number}; what it says: {run}/logs; to stop it in good order: touch {run}/stop")


if __name__ == "__main__":
    main(*sys.argv[1:])
