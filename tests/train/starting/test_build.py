"""What a process builds before its first step."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data.shards.index import ShardIndex
from launch.processes.environment import Environment
from tests.train.checking.test_plan import config_of
from train.run.checkpoint import Checkpoint
from train.schedule.duration import RunLength
from train.schedule.progress import Progress
from train.starting.build import build_step
from train.starting.resolve import resolved


def test_weights_are_drawn_by_the_seed(tmp_path: Path, shards: Path, index: ShardIndex) -> None:
    env, config = Environment(), config_of(tmp_path, shards, "model.width=0.0625")
    config = resolved(config, index, env)
    first, again, other = (
        build_step(each, index.classes, RunLength(53, 2), env).model.state_dict()
        for each in (config, config, replace(config, seed=1))
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["output.weight"], other["output.weight"])
    assert first["output.bias"].view(5, -1)[:, 4].tolist() == [-4.0] * 5 and first["output.bias"].sum() == -20


def test_a_checkpoint_of_another_optimizer_ends_the_start(tmp_path: Path, shards: Path, index: ShardIndex) -> None:
    """It is whole, and the config may be wrong: it is not passed over."""
    env = Environment()

    def checkpoint_of(recipe: str) -> Checkpoint:
        config = config_of(tmp_path, shards, "model.width=0.0625", f"recipe={recipe}", "anchors=[1,1,2,2]")
        step = build_step(config, index.classes, RunLength(53, 2), env)
        network = config.network(index.classes)
        return Checkpoint(tmp_path / "run/checkpoints", config.checkpoint, env, network, step=step, at=Progress())

    first = checkpoint_of("darknet")
    first.save(0)
    first.wait()
    with pytest.raises(ValueError, match=r"trained with step\.optimizer=sgd, .*recipe=darknet"):
        checkpoint_of("scratch").restore()


@pytest.mark.parametrize(("epochs", "momentum"), [(1, 0.1), (100, 30 / 662), (2000, 0.01)])
def test_durations_follow_the_run(
    tmp_path: Path, shards: Path, index: ShardIndex, epochs: int, momentum: float
) -> None:
    config = resolved(config_of(tmp_path, shards, "model.width=0.0625", f"epochs={epochs}"), index, Environment())
    step = build_step(config, index.classes, RunLength(53, epochs), Environment())
    norms = [module for module in step.model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert {norm.momentum for norm in norms} == {momentum}
    assert step.schedule.end_images == 53 * epochs and step.ema is not None
    assert step.ema.images == round(0.06 * 53 * epochs) and step.schedule.burn_in_images == round(0.04 * 53 * epochs)
