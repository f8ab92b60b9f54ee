"""What is said before a run is started: all problems at once, and what it will need."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import launch
from tests.servers import nginx
from train.check import main


@pytest.fixture
def config(tmp_path: Path, shards: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(
        f"""
        run: {tmp_path}/run
        epochs: 2
        data: {{train: {shards}/train, val: {shards}/val, batch: 8, sides: [64, 96], workers: 0}}
        model: {{width: 0.0625}}
        step: {{precision: fp32}}
        evaluate: {{side: 96, pictures: 0}}
        board: {{every_batches: 2}}
        """
    )
    return path


class Said(NamedTuple):
    lines: dict[str, str]
    problems: list[str]


Checked = Callable[..., Said]


@pytest.fixture
def checked(config: Path, capsys: pytest.CaptureFixture[str]) -> Checked:
    def check(*arguments: str) -> Said:
        try:
            main([str(config), *arguments])
            problems = []
        except ValueError as error:
            problems = f"error: {error}".splitlines()
        found = capsys.readouterr().out.splitlines()
        return Said({line[:12].strip(): line[12:] for line in found}, problems)

    return check


def test_a_run_that_can_start(checked: Checked, config: Path) -> None:
    before = sorted(config.parent.rglob("*"))
    found = checked("--processes", "4")
    assert not found.problems and found.lines[""] == f"{config} can be started"
    assert "53 images of 6 classes" in found.lines["train"] and found.lines["train"].endswith("all there")
    assert "4 ranks of 2 images, 7 steps an epoch" in found.lines["plan"]
    assert "remark" not in found.lines
    assert "checkpoints of 3.2 MB" in found.lines["disk"] and "202,209 parameters" in found.lines["network"]
    assert "unknown" in found.lines["time"] and "position" not in found.lines
    assert found.lines["memory"].endswith(" MB in each process for a step at 96 px, predicted")
    assert checked("step.accumulate=auto").lines["memory"].endswith("in as few parts as possible")
    assert sorted(config.parent.rglob("*")) == before


def test_too_little_memory_on_this_machine_is_remarked_on(checked: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.checking.machine.memory_left", lambda: 20_000_000)
    found = checked("--processes", "4")
    assert not found.problems and "memory: 4 x " in found.lines["remark"] and "20.0 MB" in found.lines["remark"]
    assert "remark" not in checked("step.accumulate=auto").lines


def test_a_set_that_is_evaluated_on_what_it_is_trained_on_is_remarked_on(checked: Checked, shards: Path) -> None:
    found = checked(f"data.val={shards}/train")
    assert not found.problems and "53 images of 53 in " in found.lines["remark"]


def test_all_that_is_wrong_is_said_at_once(
    checked: Checked, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(shards / "train", cut)
    (cut / "shard-000000.tar").write_bytes(b"")
    (tmp_path / "short.weights").write_bytes(b"\0" * 40)
    wrong = ["nosuch.key=3", "epochs=many", "model.width=9", f"data.train={cut}", "data.val=/nowhere"]
    found = checked("--processes", "3", *wrong, f"weights={tmp_path}/short.weights")
    expected = [
        "nosuch",
        "epochs=many: expected a whole number",
        "model.width=9",
        "shard-000000.tar: the index says",
        "no shards at /nowhere",
    ]
    expected += ["data.batch=8 over 3 processes", "it holds 6 numbers"]
    assert len(found.problems) == len(expected)
    for problem, part in zip(found.problems, expected, strict=True):
        assert problem.startswith("error: ") and part in problem
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    assert "expected room for 13.0 MB of checkpoints" in checked().problems[0]


def test_a_file_that_is_no_config_is_the_one_problem(checked: Checked, config: Path) -> None:
    config.write_text("run: [")
    assert len(checked("epochs=3").problems) == 1


@pytest.mark.slow
def test_a_run_under_way_says_where_it_stands_and_how_long_it_will_take(
    checked: Checked, config: Path, tmp_path: Path
) -> None:
    launch(str(config), "epochs=1")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    found = checked("--processes", "2")
    assert found.lines["position"] == "56 images seen, 1 epoch evaluated"
    assert "images/s that this run has logged" in found.lines["time"]
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    (problem,) = checked("model.width=0.125").problems
    assert "model.width 0.0625 -> 0.125: refused: " in problem


def test_shards_from_elsewhere_are_looked_up_and_not_brought(checked: Checked, shards: Path, tmp_path: Path) -> None:
    with nginx(shards, tmp_path / "nginx") as address:
        found = checked(f"data.train={address}/train", f"data.staging={tmp_path}/staging")
        assert not found.problems and "53 images" in found.lines["train"]
        asked = (tmp_path / "nginx/access").read_text()
        assert not (tmp_path / "staging").exists() and ".tar" not in asked
        assert "expected data.staging with it" in checked(f"data.train={address}/train").problems[0]
