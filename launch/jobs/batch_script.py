"""The batch script of a run: slurm/train.sbatch with its values."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from launch.config_file import parse_overrides, read_yaml
from launch.jobs.job import SITE, Job
from launch.jobs.sweep import chosen, members

SETUP = "# What a site needs first (modules, conda), as setup= of launch.submit:\n"
PLAIN = re.compile(r"[\w./+=][\w./+=-]*", re.ASCII)  # needs no quotes and means nothing to Slurm
TEXTS = ("run", "data.staging")  # the text keys read here


def read_config(config: str, overrides: Sequence[str]) -> DictConfig:
    """The file and the overrides alone: the defaults are not known here."""
    tree = OmegaConf.merge(read_yaml(Path(config), TEXTS), parse_overrides(overrides, TEXTS))
    assert isinstance(tree, DictConfig)
    return tree


def render(
    job: Job,
    template: str,
    config: str,
    overrides: Sequence[str],
    sweep: Mapping[str, Sequence[str]],
    *,
    here: str,
    python: str,
    main: str,
) -> str:
    """The batch script, to run in the folder `here`. sweep: values of keys, each combination one task of an array."""
    tree = read_config(config, overrides)
    run = run_folder(tree, config)
    runs = members(run, sweep)
    _require_whole_shares(tree, job)
    arguments = " ".join(shlex.quote(argument) for argument in [config, *overrides])
    if OmegaConf.select(tree, "data.staging") is None:
        arguments += ' "data.staging=$scratch/shards"'
    text = template
    for name, value in _options(job, run, here, len(runs)).items():
        text = _replaced(text, f"#SBATCH --{name}=", value)
    for name, value in _variables(job, run, f"({arguments})", python, main).items():
        text = _replaced(text, f"{name}=", value)
    if not job.gpus_per_node:
        text = re.sub(r"^#SBATCH --gpus-per-node=0.*\n", "", text, flags=re.MULTILINE)
    if runs:  # they share a name: as singletons they would run one after another
        after = f"#SBATCH --dependency=afterok:{job.after}\n" if job.after else ""
        text = re.sub(r"^#SBATCH --dependency=singleton.*\n", after, text, flags=re.MULTILINE)
        text = text.replace("\nexport OMP_NUM", f"\n{chosen(runs)}\nexport OMP_NUM", 1)
    if job.setup:
        text = text.replace(SETUP, f"{SETUP}{job.setup}\n", 1)
    added = "#SBATCH --kill-on-invalid-dep=yes\n" if job.after else ""  # else it would wait forever
    if runs:
        added += f"#SBATCH --array=0-{len(runs) - 1}{f'%{job.at_once}' if job.at_once else ''}\n"
    added += "".join(f"#SBATCH --{name}={value}\n" for name in SITE if (value := getattr(job, name)))
    return text.replace("#SBATCH --requeue", f"{added}#SBATCH --requeue", 1)


def run_folder(tree: DictConfig, config: str) -> str:
    """The key `run`. ValueError if it would need quotes in the script."""
    run = OmegaConf.select(tree, "run")
    if not isinstance(run, str) or not PLAIN.fullmatch(run):
        raise ValueError(
            f"{config}: expected `run`, the folder of the run, to consist of letters, digits and _ . / + = - and not "
            f"to begin with -, found {run!r}"
        )
    return run


def _require_whole_shares(tree: DictConfig, job: Job) -> None:
    batch, world_size = OmegaConf.select(tree, "data.batch"), job.nodes * job.processes
    if isinstance(batch, int) and batch % world_size:
        raise ValueError(
            f"data.batch={batch} over {world_size} processes leaves a remainder; use a multiple of {world_size} or "
            "change nodes or gpus_per_node"
        )


def _options(job: Job, run: str, here: str, tasks: int) -> dict[str, str]:
    """Options of sbatch. tasks: size of the array, 0 for a single run."""
    return {
        "job-name": shlex.quote("{0.name}@{0.parent}".format(Path(here, run))),  # unique to this run
        "dependency": f"singleton,afterok:{job.after}" if job.after else "singleton",
        "nodes": str(job.nodes),
        "gpus-per-node": str(job.gpus_per_node),
        "cpus-per-task": str(job.processes * job.cpus_per_process),
        "time": job.time,
        "signal": f"B:USR1@{job.warning}",
        "output": f"{run}/logs/job-{'%A_%a' if tasks else '%j'}.log",
    }


def _variables(job: Job, run: str, arguments: str, python: str, main: str) -> dict[str, str]:
    """Variables of the script, as bash reads them."""
    return {
        "run": run,
        "arguments": arguments,
        "main": shlex.quote(job.main or main),
        "python": f"({shlex.join(shlex.split(job.python) or [python])})",
        "processes": str(job.processes),
        "warning": str(job.warning),
        "export OMP_NUM_THREADS": "1" if job.gpus_per_node else str(job.cpus_per_process),
        **({"scratch": shlex.quote(job.scratch)} if job.scratch else {}),
    }


def _replaced(text: str, start: str, value: str) -> str:
    """Replaces the value of the line that begins with `start`; its comment keeps its column if there is room."""

    def line(found: re.Match[str]) -> str:
        return f"{start}{value} ".ljust(len(found[1])) + found[2] if found[2] else f"{start}{value}"

    pattern = rf"^({re.escape(start)}.*?)(?:(?<= )(# .*))?$"
    text, count = re.subn(pattern, line, text, flags=re.MULTILINE)
    assert count == 1, f"{start}: {count} lines of the template"
    return text
