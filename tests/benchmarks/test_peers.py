"""The whole benchmark, small: every case from the same weights, with the same first loss in float32."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.peers import CASES, PLAIN
from tests.conftest import ROOT


@pytest.mark.slow
def test_every_case_starts_from_the_same_loss(tmp_path: Path) -> None:
    sizes = ["--side=64", "--batch=4", "--width=0.0625", "--steps=1", "--rounds=1"]
    command = [sys.executable, "-m", "benchmarks.peers", *sizes, f"--json={tmp_path / 'found.json'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {case: rounds[0] for case, rounds in json.loads((tmp_path / "found.json").read_text()).items()}
    assert list(found) == list(CASES) and "1.00x" in done.stdout
    assert found[PLAIN]["first_loss"] == pytest.approx(found["ours, float32"]["first_loss"], rel=1e-4)
    assert all(each["first_loss"] == pytest.approx(found[PLAIN]["first_loss"], rel=0.2) for each in found.values())
    assert all(each["images_s"] > 0 and each["memory_mb"] > 0 for each in found.values())
