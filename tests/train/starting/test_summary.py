from dataclasses import replace
from types import SimpleNamespace

import pytest

from data.loading.config import DataConfig
from data.shards.index import ShardIndex
from launch.processes.environment import Environment
from train.config import Config
from train.loss import build_loss
from train.model import ModelConfig, build_model
from train.starting.summary import gflop, print_summary, summary
from train.stepping.config import StepConfig
from train.stepping.step import Step


def config(**others: object) -> Config:
    return Config(run="runs/x", data=DataConfig(train="a", val="b", sides=[320, 608]), **others)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("epochs", "position"),
    [(0, "from the start"), (2, "resumes after {images} images, epoch 3"), (7, "complete after {images} images")],
)
def test_a_start_says_what_it_does_in_ten_lines(index: ShardIndex, epochs: int, position: str) -> None:
    images = epochs * index.num_samples
    some = config(model=ModelConfig(variant="tiny-voc", width=0.25), step=StepConfig(precision="bf16"), epochs=7)
    step = Step(
        some.step,
        some.schedule,
        build_model(some.model, 6, 5),
        build_loss(some.loss, some.anchor_pairs, 6),
        Environment(),
    )
    text = summary(some, index, index, step, Environment(world_size=4), images)
    lines = {line.split()[0]: line for line in text.splitlines()[-6:]}
    assert list(lines) == ["network", "train", "val", "on", "how", "run"]
    assert f"a: {index.num_samples} images, {len(index.arrays['labels']):,} objects, 6 classes" in lines["train"]
    assert "4 x CPU, bfloat16, eager; " in lines["on"] and "MB in each process for a step at 608 px" in lines["on"]
    assert "recipe darknet, batch 64, " in lines["how"] and "320 to 608 px" in lines["how"]
    assert f"7 epochs, {7 * index.num_samples:,} images" in lines["how"]
    assert f"runs/x, {position.format(images=images)};" in lines["run"]
    one_side = replace(some, data=replace(some.data, sides=[416]))
    assert " images, 416 px\n" in summary(one_side, index, index, step, Environment(), images)


def test_the_work_is_what_darknet_prints(index: ShardIndex) -> None:
    """yolov2-voc.cfg at 416 px: 29.37 BFLOP with its 20 classes."""
    import dataclasses

    voc = dataclasses.replace(index, classes=tuple(f"class {number}" for number in range(20)))
    assert gflop(config(), voc) == pytest.approx(29.37, abs=0.1)


def test_a_summary_that_fails_ends_nothing(
    index: ShardIndex, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("train.starting.summary.remarks_on", lambda *_: ["a remark"])
    monkeypatch.setattr("train.starting.summary.say_room", lambda *_: None)
    print_summary(config(), index, index, SimpleNamespace(), Environment(), 0)  # type: ignore[arg-type]
    print_summary(config(), index, index, SimpleNamespace(), Environment(rank=1), 0)  # type: ignore[arg-type]
    printed = capsys.readouterr().err
    assert printed.count("the summary of the start failed (AttributeError") == printed.count("a remark\n") == 1
