"""A run that is started again with another config."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from launch.processes.environment import Environment
from tests.conftest import ROOT
from train.config import flat, load
from train.main import main
from train.run.checkpoint_files import newest, read
from train.starting.changes import RULES, Change, Rule, accept_changes, changes_since, rule_of

BEGUN = 56  # images seen by the run that is started again: one epoch of 53, in batches of 8
RUN = """
recipe: darknet
epochs: 2
data: {{train: {shards}/train, val: {shards}/val, batch: 8, sides: [64], workers: 0}}
model: {{variant: tiny-voc, width: 0.0625}}
schedule: {{rate: 1.0e-3, burn_in_images: 20, drop_images: [50]}}
evaluate: {{side: 64, pictures: 0}}
step: {{precision: bf16}}
"""


def row(rule: Rule) -> str:
    """Rows of the table in docs/running.md."""
    keys = ", ".join(f"`{key}`" for key in rule.keys)
    return f"| {keys} | {'refused' if rule.refused else 'accepted'} | {rule.effect} |"


def test_the_documentation_has_the_table() -> None:
    text = (ROOT / "docs/running.md").read_text()
    rows = [line for line in text.splitlines() if re.match(r"\| .* \| (refused|accepted) \|", line)]
    assert rows == [row(rule) for rule in RULES], "expected in docs/running.md:\n" + "\n".join(map(row, RULES))


def test_every_key_of_a_config_has_its_row(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("run: r\ndata: {train: a, val: b}\n")
    keys = {*flat(load(path, [])), *flat(load(path, ["drawn.pictures=p"]))}
    assert {rule_of(key) for key in keys} == set(RULES)


@pytest.fixture(scope="module")
def begun(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run as it was after its first epoch of two, and the file it was started with."""
    folder = tmp_path_factory.mktemp("begun")
    (folder / "small.yaml").write_text(RUN.format(shards=shards))
    main([str(folder / "small.yaml"), f"run={folder}/run"])
    for path in (folder / "run/checkpoints").iterdir():
        if not path.name.startswith(f"{BEGUN:09d}"):
            path.unlink()
    return folder


def again(begun: Path, folder: Path, *overrides: str) -> Path:
    """The run, continued in a copy of its folder."""
    run = folder / "run"
    shutil.copytree(begun / "run", run)
    main([str(begun / "small.yaml"), f"run={run}", *overrides])
    return run


def last_state(run: Path) -> dict[str, Any]:
    path = newest(run / "checkpoints")
    assert path is not None
    return {"images": int(path.name.split("-")[0]), **read(path)["step"]}


def is_group(name: str, value: float) -> Callable[[dict[str, Any]], bool]:
    return lambda state: state["optimizer"]["param_groups"][0][name] == pytest.approx(value)


#: What is tried: words of a command line, and what must be true of the last checkpoint where the change is accepted
TRIED: list[tuple[list[str], Callable[[dict[str, Any]], bool] | None]] = [
    (["anchors=[1,1,2,2,3,3,4,4,5,5]"], None),
    (["model.variant=yolov2"], None),
    (["model.passthrough=reorg"], None),
    (["model.width=0.125"], None),
    (["model.layers='4 pool 8 pool 8 pool 8 pool 8 pool 16'", "model.width=1"], None),
    (["seed=1"], None),
    (["data.window=1"], None),
    (["step.optimizer=adamw"], None),
    (["evaluate.protocol=coco"], None),
    (["recipe=scratch"], None),  # another optimizer with it
    (["epochs=3"], lambda state: state["images"] == 160),
    (["epochs=1"], lambda state: state["images"] == BEGUN),
    (["schedule.rate=5e-4"], is_group("lr", 5e-5)),
    (["schedule.drop_images=[50,60]"], is_group("lr", 1e-5)),
    (["schedule.backbone_rate=0.5"], is_group("lr", 5e-5)),
    (["step.momentum=0.5"], is_group("momentum", 0.5)),
    (["step.decay=0.01"], is_group("weight_decay", 0.01)),
    (["step.clip_norm=1.0"], None),
    (["step.ema_images=50"], lambda state: "ema" in state),
    (["step.precision=fp16"], lambda state: state["scaler"]["scale"] > 0),
    (["step.precision=fp32"], lambda state: not state["scaler"]),
    (["step.accumulate=2"], lambda state: state["images_at_once"] == 4),
    (["step.recompute=true"], None),
    (["loss.object=1"], None),
    (["data.batch=6"], lambda state: state["images"] == 110),
    (["data.sides=[32,64]"], None),
    (["data.augment.flip=0"], None),
    (["data.truth_slots=20"], None),
    (["data.train={shards}/val"], None),
    (["data.val={shards}/train"], None),
    (["evaluate.side=96"], None),
    (["evaluate.every_epochs=3"], None),
    (["model.objectness_bias=-4"], None),
    (["weights=/nonexistent"], None),
    (["drawn.pictures=pictures"], None),
    (["board.every_batches=2", "checkpoint.keep=3"], None),
]


def test_something_of_every_row_is_tried() -> None:
    tried = [word.partition("=")[0] for words, _ in TRIED for word in words] + ["data.classes", "step.freeze"]
    assert {rule_of(key) for key in tried if key != "recipe"} == set(RULES) - {rule_of("recipe")}


@pytest.mark.slow
@pytest.mark.parametrize(("words", "is_as_told"), TRIED, ids=lambda value: value[0] if isinstance(value, list) else "")
def test_a_change_is_listed_and_taken_or_refused(
    words: list[str],
    is_as_told: Callable[[dict[str, Any]], bool] | None,
    begun: Path,
    shards: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [word.replace("{shards}", str(shards)) for word in words]
    keys = [word.partition("=")[0] for word in words]
    refused = [key for key in keys if rule_of(key).refused or key == "recipe"]
    if refused:
        with pytest.raises(ValueError, match="expected the config that this run began with") as caught:
            again(begun, tmp_path, *words)
        assert all(f"{key} " in str(caught.value) and " -> " in str(caught.value) for key in refused if key != "recipe")
        assert [path.name for path in (tmp_path / "run/starts").iterdir()] == ["0001-000000000.yaml"]
        assert (tmp_path / "run/config.yaml").read_text() == (begun / "run/config.yaml").read_text()
        return
    run = again(begun, tmp_path, *words)
    told = capsys.readouterr().err
    kept = (run / f"starts/0002-{BEGUN:09d}.yaml").read_text()
    for key in keys:
        key = key if key != "drawn.pictures" else "drawn.train"
        (line,) = [line for line in told.splitlines() if re.search(rf"(^|[ ,]){key} .* -> ", line)]
        assert line.endswith(f"accepted: {rule_of(key).effect}") and f"# {line.strip()}\n" in kept
    assert (run / "finished").exists() and last_state(run)["images"] >= BEGUN
    assert is_as_told is None or is_as_told(last_state(run)), last_state(run)["optimizer"]["param_groups"][0]


@pytest.mark.slow
def test_a_backbone_is_frozen_and_freed_again(begun: Path, tmp_path: Path) -> None:
    """Its weights stay as they were in between."""
    before = last_state(begun / "run")["model"]
    run = again(begun, tmp_path, "step.freeze=backbone")
    frozen = last_state(run)["model"]
    same = {name for name in before if (before[name] == frozen[name]).all()}
    assert all(name in same for name in before if name.startswith("backbone")) and "output.weight" not in same
    main([str(begun / "small.yaml"), f"run={run}", "epochs=3"])
    assert (last_state(run)["model"]["backbone.coarse.0.conv.weight"] != frozen["backbone.coarse.0.conv.weight"]).any()


@pytest.mark.slow
def test_what_changed_at_an_earlier_start_is_told_at_each(
    begun: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = again(begun, tmp_path, "loss.object=1")
    main([str(begun / "small.yaml"), f"run={run}", "loss.object=1", "epochs=3"])
    told = capsys.readouterr().err
    assert "  loss.object 5.0 -> 1.0 since an earlier start: accepted: " in told
    main([str(begun / "small.yaml"), f"run={run}", "epochs=3"])
    assert "  loss.object 1.0 -> 5.0 (5.0 at first): accepted: " in capsys.readouterr().err
    names = sorted(path.name for path in (run / "starts").iterdir())
    assert names == ["0001-000000000.yaml", "0002-000000056.yaml", "0003-000000112.yaml", "0004-000000160.yaml"]
    assert load(run / "starts" / names[1], []).loss.object == 1


def test_classes_that_a_config_did_not_name_are_no_change(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_text("run: r\ndata: {train: a, val: b}\n")
    unnamed, cats, dogs = (load(path, words) for words in ([], ["data.classes=[cat]"], ["data.classes=[dog]"]))
    assert not changes_since(unnamed, unnamed, cats)
    (change,) = changes_since(cats, cats, dogs)
    assert str(change) == "data.classes [cat] -> [dog]" and rule_of(change.key).refused


def test_a_config_that_cannot_be_read_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(load(ROOT / "configs/demo.yaml", []), run=str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/000000064-0123456789abcdef.pt").touch()
    assert accept_changes(config, Environment()) == []
    assert "changes since the last start are unknown" in capsys.readouterr().err


def test_values_are_shown_as_a_config_writes_them() -> None:
    assert str(Change("weights", "runs/a", "runs/a", None)) == "weights runs/a -> null"
    assert str(Change("data.sides", [96], [96], [96, 128])) == "data.sides [96] -> [96,128]"
