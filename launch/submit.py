"""A run as a Slurm batch job: slurm/train.sbatch with the values of this run, shown and submitted.

python -m launch.submit CONFIG [nodes=2 gpus_per_node=8 time=24:00:00 ...] [key=value ...] [--check | --dry-run]

--check says what the run would find and whether Slurm would accept the job, --dry-run shows the script; neither
submits. The keys of a job are the fields of `launch.jobs.job.Job`; all others are the run's, as train/main.py takes
them, and are refused if it would refuse them.
sweep.KEY=VALUE,VALUE ... makes it an array: a run for each combination, in a folder of its own inside `run`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import OmegaConf

from launch.command import run
from launch.config_file import split_words
from launch.jobs.batch_script import read_config, render, run_folder
from launch.jobs.job import Job, parse
from launch.jobs.sweep import PREFIX, members, split_sweep
from launch.keys import keys_of, lines

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = ROOT / "slurm/train.sbatch"


def submit(text: str) -> str:
    """Submits a script; returns the number of the job."""
    return _sbatch(text, "--parsable").stdout.strip().partition(";")[0]


def _sbatch(text: str, option: str) -> "subprocess.CompletedProcess[str]":
    if shutil.which("sbatch") is None:
        raise ValueError(
            "no sbatch on this machine: submit on a login node of the cluster, or write the script to a file with "
            "--dry-run"
        )
    done = subprocess.run(["sbatch", option], input=text, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"sbatch refused the job: {done.stderr.strip()}")
    return done


def require_known(config: str, overrides: Sequence[str], sweep: Mapping[str, Sequence[str]]) -> None:
    """ValueError if a key or value is not the run's, or that of one run of a sweep. A separate program says so."""
    words = [*overrides, *(f"{PREFIX}{key}={','.join(values)}" for key, values in sweep.items())]
    done = subprocess.run([sys.executable, "-m", "train.config", config, *words], capture_output=True, text=True)
    if done.stderr.startswith("error: "):
        raise ValueError(done.stderr.removeprefix("error: ").strip())
    if done.returncode:  # such as a login node without torch
        last = done.stderr.strip().rpartition("\n")[2]
        print(f"keys of the run were not checked: {sys.executable}: {last}", file=sys.stderr)


def require_folder(run: Path) -> None:
    """ValueError if there can be no such folder anywhere. Permissions may be others on a node."""
    there = next(place for place in (run, *run.parents) if place.exists() or place.is_symlink())
    if not there.is_dir():
        found = "a link to nothing" if not there.exists() else "a file"
        raise ValueError(f"run={run}: expected a folder, found {there}, {found}; choose another `run`")
    if not shutil.disk_usage(there).total:  # as of /proc
        raise ValueError(f"run={run}: expected a folder on a disk, found {there}, which is on none; choose another")


def check(
    job: Job, config: str, overrides: Sequence[str], sweep: Mapping[str, Sequence[str]], place: Mapping[str, str]
) -> None:
    """ValueError if a start would fail. The run itself is checked by train.check, as a separate program."""
    command = [place["python"], "-m", "train.check", config, f"--processes={job.nodes * job.processes}", *overrides]
    tree = read_config(config, overrides)
    if OmegaConf.select(tree, "data.staging") is None:
        scratch = job.scratch or Path(tempfile.gettempdir(), f"yolov2-{os.getuid()}")  # as in the script
        command.append(f"data.staging={scratch}/shards")
    runs = [[*member.overrides, f"run={member.run}"] for member in members(run_folder(tree, config), sweep)]
    bad = sum(subprocess.run([*command, *words]).returncode != 0 for words in runs or [[]])
    said = _sbatch(render(job, TEMPLATE.read_text(), config, overrides, sweep, **place), "--test-only").stderr
    print(f"{'slurm':<12}{said.strip().removeprefix('sbatch: ')}")
    if bad:
        raise ValueError("train.check found the problems above; nothing was submitted")


def main(words: Sequence[str]) -> None:
    flags = [word for word in words if word in ("--dry-run", "--check")]
    config, rest = split_words([word for word in words if word not in flags])
    if config is None or config.startswith("-"):
        raise ValueError(f"expected {(__doc__ or '').splitlines()[2]}")
    sweep, rest = split_sweep(rest)
    job, overrides = parse(rest)
    place = {"here": str(Path.cwd()), "python": sys.executable, "main": str(ROOT / "train/main.py")}
    if "--check" in flags:
        check(job, config, overrides, sweep, place)
        return
    text = render(job, TEMPLATE.read_text(), config, overrides, sweep, **place)
    require_known(config, overrides, sweep)
    folder = Path(read_config(config, overrides).run)
    require_folder(folder)
    print(text, end="")
    if "--dry-run" in flags:
        return
    (folder / "logs").mkdir(parents=True, exist_ok=True)  # Slurm does not create the log's folder
    number = submit(text)
    print(f"\njob {number}; logs: {folder}/logs; to stop it cleanly: touch {folder}/stop")


def usage() -> str:
    return "\n".join([__doc__ or "", "Keys of a job:", *(f"  {line}" for line in lines(keys_of(Job), {}))])


if __name__ == "__main__":
    sys.exit(run(main, usage))
