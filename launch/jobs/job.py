"""A run's request to Slurm, from key=value words."""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from launch.config_file import ALLOW_PIPE

TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<fields>\d+(?::\d+){0,2})", re.ASCII)
SITE = ("partition", "account", "qos", "constraint", "reservation", "exclude", "mem")  # options of sbatch as they are


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run's request to Slurm."""

    nodes: int = 1  #: [nodes] of the cluster
    gpus_per_node: int = 8  #: [GPUs] one process each; 0: train on the CPU
    processes_per_node: int = 0  #: [processes] 0: one for each GPU, or one without GPUs
    cpus_per_process: int = 8  #: [cores] for training and its loader processes (data.workers)
    time: str = "24:00:00"  #: limit of one allocation; a run takes as many as it needs
    warning: int = 300  #: [seconds] before the end of an allocation at which the run is asked to save and exit
    scratch: str = ""  #: folder on a disk of each node for staged shards and compiled code; default: in $TMPDIR or /tmp
    after: str = ""  #: number of a job that must succeed before the run starts
    setup: str = ""  #: shell line to run before anything else (module load, conda activate); may be given several times
    python: str = ""  #: command that starts Python on a node; default: the Python that submits
    main: str = ""  #: where that Python finds train/main.py; default: the one beside launch.submit
    at_once: int = 0  #: [runs] of a sweep at a time; 0: as many as Slurm allows
    partition: str = ""  #: as for sbatch
    account: str = ""  #: as for sbatch
    qos: str = ""  #: as for sbatch
    constraint: str = ""  #: as for sbatch
    reservation: str = ""  #: as for sbatch
    exclude: str = ""  #: as for sbatch
    mem: str = ""  #: as for sbatch; for each node

    def __post_init__(self) -> None:
        if self.nodes < 1 or self.cpus_per_process < 1:
            raise ValueError(
                f"nodes={self.nodes}, cpus_per_process={self.cpus_per_process}: expected at least 1 of each"
            )
        for name in ("gpus_per_node", "processes_per_node", "at_once"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: expected 0 or more")
        if self.gpus_per_node and self.processes_per_node not in (0, self.gpus_per_node):
            raise ValueError(
                f"processes_per_node={self.processes_per_node} with gpus_per_node={self.gpus_per_node}: expected one "
                "process for each GPU; leave processes_per_node out"
            )
        if self.warning < 30 or seconds(self.time) < 2 * self.warning:
            raise ValueError(
                f"time={self.time} with warning={self.warning}: expected at least 30 seconds of warning, and at "
                "least twice as much time: Slurm warns up to a minute early, and a run needs time to start"
            )
        for name in ("after", *SITE):
            if re.search(r"\s", getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)!r}: expected a value without spaces")

    @property
    def processes(self) -> int:
        """Processes per node."""
        return self.processes_per_node or self.gpus_per_node or 1


def seconds(time: str) -> int:
    """Seconds in a time limit, as Slurm reads it: minutes, m:s, h:m:s, days-h, days-h:m, days-h:m:s."""
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
    """The job, and the remaining overrides, which are the run's."""
    known = {field.name: field.type for field in fields(Job)}
    asked: dict[str, Any] = {}
    overrides = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if argument == ALLOW_PIPE:
            overrides.append(argument)
            continue
        if not equals:
            raise ValueError(f"{argument!r}: expected key=value, such as nodes=2 or data.batch=32")
        if key not in known:
            near = difflib.get_close_matches(key, known, 1, 0.8)
            if near and "." not in key:
                raise ValueError(f"{argument}: unknown key of a job; did you mean {near[0]}={value}?")
            overrides.append(argument)
        elif known[key] is int:
            if not re.fullmatch("[0-9]+", value):
                raise ValueError(f"{argument}: expected a whole number")
            asked[key] = int(value)
        elif key == "setup":
            asked[key] = f"{asked[key]}\n{value}" if key in asked else value
        else:
            asked[key] = value
    return Job(**asked), overrides
