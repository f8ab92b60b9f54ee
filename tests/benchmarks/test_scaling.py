"""The whole benchmark, small: two real processes, and a prediction beside what was measured, never in it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.exchange import BETWEEN_NODES
from benchmarks.scaling import measured_table
from benchmarks.scaling_prediction import GPUS
from tests.conftest import ROOT
from train.model import YOLOv2


@pytest.mark.slow
def test_two_processes_measured_and_many_predicted(tmp_path: Path) -> None:
    sizes = ["--processes=2", "--side=64", "--images=2", "--width=0.5", "--steps=2", "--rounds=1", "--step-ms=20"]
    command = [sys.executable, "-m", "benchmarks.scaling", *sizes, f"--json={tmp_path / 'found.json'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if torch.cuda.device_count() == 1:
        assert done.returncode and "2 processes" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    measured, predicted = done.stdout.split("\nPREDICTED")
    found = json.loads((tmp_path / "found.json").read_text())
    assert list(found["measured"]) == ["1", "2"] and measured.startswith("MEASURED") and "100.0%" in measured
    (two,) = found["measured"]["2"]
    assert two["bytes"] == 4 * sum(parameter.numel() for parameter in YOLOv2(width=0.5).parameters())
    ready = [bucket["ready"] for bucket in two["buckets"]]
    assert ready == sorted(ready) and 0 < ready[0] <= ready[-1] == 1
    assert two["exchange_alone_s"] > two["statistics_s"] > 0 and two["agreement_s"] > 0
    (prediction,) = found["predicted"]
    assert prediction["step_s"] == 0.02 and "64 images of 64 px on each GPU, 20.0 ms" in predicted
    assert len(prediction["rows"]) == len(GPUS) * len(BETWEEN_NODES) * 4
    assert all(0 < row["efficiency"] < 1 for row in prediction["rows"])


def test_a_step_that_pays_all_of_its_exchange_hides_nothing() -> None:
    one = {"step_s": 0.4, "buckets": []}
    two = {
        "step_s": 0.5,
        "step_without_exchange_s": 0.42,
        "bytes": 4_000_000,
        "buckets": [{"bytes": 4_000_000, "ready": 1.0}],
        "exchange_alone_s": 0.1,
        "statistics_s": 0.001,
        "agreement_s": 0.0002,
    }
    row = measured_table({1: [one], 2: [two]}, images=3).splitlines()[2]
    assert " ".join(row.split()) == "2 12.00 (12.00..12.00) 80.0% 500.0 420.0 4.0 MB 100.0 80.0 20% 1.00 0.20"
    row = measured_table({1: [one], 2: [two | {"exchange_alone_s": 0.08}]}, images=3).splitlines()[2]
    assert row.split()[10] == "none"
