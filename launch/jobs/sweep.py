"""A sweep: one run for each combination of values, as the tasks of one array job.

sweep.schedule.rate=1e-3,3e-3 sweep.seed=0,1       # four runs: RUN/schedule.rate=1e-3_seed=0 ...
"""

import itertools
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

PREFIX = "sweep."
MOST = 1000  # tasks: MaxArraySize of Slurm is 1001 unless a site says otherwise


class Member(NamedTuple):
    run: str  # its folder
    overrides: list[str]


def split_sweep(words: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """{key: values} from the words of a sweep, and the other words."""
    axes: dict[str, list[str]] = {}
    rest = []
    for word in words:
        key, equals, values = word.removeprefix(PREFIX).partition("=")
        if not word.startswith(PREFIX):
            rest.append(word)
        elif not equals or not key or not all(found := split_values(values)) or key == "run":
            raise ValueError(f"{word!r}: expected {PREFIX}KEY=VALUE,VALUE ..., such as {PREFIX}schedule.rate=1e-3,3e-3")
        else:
            axes[key] = found
    return axes, rest


def split_values(text: str) -> list[str]:
    """Splits at commas outside brackets: [320],[320,352] is two values."""
    values, depth = [""], 0
    for letter in text:
        depth += (letter in "[{") - (letter in "]}")
        if letter == "," and depth == 0:
            values.append("")
        else:
            values[-1] += letter
    return [value.strip() for value in values]


def members(run: str, axes: Mapping[str, Sequence[str]]) -> list[Member]:
    """The runs of a sweep, each with its own folder inside that of the sweep."""
    found = []
    for values in itertools.product(*axes.values()) if axes else ():
        overrides = [f"{key}={value}" for key, value in zip(axes, values, strict=True)]
        found.append(Member(f"{run}/{re.sub(r'[^A-Za-z0-9_.=+-]+', '-', '_'.join(overrides))}", overrides))
    if len(found) > MOST or len({member.run for member in found}) < len(found):
        raise ValueError(f"expected up to {MOST} runs in a sweep, all different, found {len(found)}; name fewer values")
    return found


def chosen(sweep: Sequence[Member]) -> str:
    """Lines of a batch script by which a task of the array finds its run and its keys."""
    cases = [
        f"    {number}) run={shlex.quote(member.run)} member=({shlex.join(member.overrides)}) ;;"
        for number, member in enumerate(sweep)
    ]
    return "\n".join(['case "$SLURM_ARRAY_TASK_ID" in', *cases, "esac", 'arguments+=("${member[@]}" "run=$run")', ""])
