"""Whether a config fits its set."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.shards.index import ShardIndex
from launch.processes.environment import Environment
from tests.conftest import ROOT
from tests.train.checking.test_plan import config_of
from train.config import load
from train.starting.fit import remarks_on
from train.starting.resolve import resolved


def test_the_schedule_of_voc_is_refused_on_a_small_set(tmp_path: Path, shards: Path, index: ShardIndex) -> None:
    """Its burn-in would outlast the run, so that the rate never leaves 1e-5."""
    sets = [f"data.train={shards}/train", f"data.val={shards}/val", f"run={tmp_path}/run"]
    config = resolved(load(ROOT / "configs/voc.yaml", sets), index, Environment())
    with pytest.raises(ValueError, match=r"burn-in of 64,000 .*sees 16,430 images .*schedule\.burn_in_images=821"):
        remarks_on(config, index)
    fitting = load(ROOT / "configs/voc.yaml", [*sets, "schedule.burn_in_images=821", "schedule.drop_images=[10953]"])
    assert not remarks_on(resolved(fitting, index, Environment()), index)


def test_a_short_trial_is_told_and_not_refused(tmp_path: Path, shards: Path, index: ShardIndex) -> None:
    config = resolved(config_of(tmp_path, shards, "recipe=darknet"), index, Environment())
    (remark,) = remarks_on(config, index)
    assert remark.startswith("schedule: the burn-in of 64,000 images and the drop of the rate at 2,560,000 images")


@pytest.mark.parametrize("epochs", [1, 2, 500])
def test_the_recipe_from_scratch_fits_a_run_of_any_length(
    tmp_path: Path, shards: Path, index: ShardIndex, epochs: int
) -> None:
    config = config_of(tmp_path, shards, f"epochs={epochs}")
    assert not remarks_on(resolved(config, index, Environment()), index)


def test_a_set_without_objects_is_refused(tmp_path: Path, shards: Path, index: ShardIndex) -> None:
    config = resolved(config_of(tmp_path, shards), index, Environment())
    ignored = replace(index, arrays=index.arrays | {"crowd": np.ones(len(index.arrays["crowd"]), np.bool_)})
    with pytest.raises(
        ValueError, match=rf"train: expected objects .*all difficult or crowds, in {index.num_samples} images"
    ):
        remarks_on(config, ignored)


def test_drops_that_the_shape_does_not_use_are_told(tmp_path: Path, shards: Path, index: ShardIndex) -> None:
    drops = ["schedule.shape=constant", "schedule.drops=['50 %']"]
    (remark,) = remarks_on(resolved(config_of(tmp_path, shards, *drops), index, Environment()), index)
    assert remark.startswith("schedule.shape=constant: the drops of the rate are not used")


def test_an_average_as_long_as_the_run_is_told(tmp_path: Path, shards: Path, index: ShardIndex) -> None:
    config = resolved(config_of(tmp_path, shards, "epochs=16", "step.ema='60 %'"), index, Environment())
    (remark,) = remarks_on(config, index)
    assert remark.startswith("step.ema: averages over 509 images, in a run of 848") and "step.ema_images=53" in remark


def test_objects_without_a_slot_are_told(tmp_path: Path, shards: Path, index: ShardIndex) -> None:
    config = resolved(config_of(tmp_path, shards, "data.truth_slots=1"), index, Environment())
    (remark,) = remarks_on(config, index)
    assert remark.startswith("data.truth_slots=1: more objects on ") and "; left out each time: " in remark
    assert remark.endswith("set data.truth_slots=auto")
