"""What slurm/shards.sbatch starts, without a Slurm."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("array", "part"),
    [
        ({}, []),
        ({"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "16"}, ["1/16"]),
        ({"SLURM_ARRAY_TASK_ID": "15", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "16"}, ["16/16"]),
    ],
)
def test_jobs_of_an_array_write_a_part_each(tmp_path: Path, array: dict[str, str], part: list[str]) -> None:
    (tmp_path / "srun").write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    environ = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_CPUS_PER_TASK": "4", **array}
    command = ["bash", "-u", ROOT / "slurm/shards.sbatch", "voc", "a folder", "--split", "all", "out"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    started = ["--cpus-per-task=4", "python", "-m", "data.shards", "voc", "a folder", "--split", "all", "out"]
    assert done.stdout.splitlines() == [*started, "--workers", "4", *(["--part", *part] if part else [])]
