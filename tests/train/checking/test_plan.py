"""The plan of every rank, made in one process."""

from pathlib import Path

import pytest

import train.checking.plan
from data.shards.index import ShardIndex
from train.checking.plan import check_plans, expected_time, loaders_of_all_ranks, require_whole_shares
from train.config import Config, load


def config_of(tmp_path: Path, shards: Path, *overrides: str) -> Config:
    path = tmp_path / "small.yaml"
    path.write_text(f"{{run: {tmp_path}/run, epochs: 2, data: {{train: {shards}/train, val: {shards}/val, batch: 8}}}}")
    return load(path, list(overrides))


@pytest.mark.parametrize("processes", [2, 3, 8, 64, 256])
def test_any_number_of_processes_is_planned_in_one(
    tmp_path: Path, shards: Path, index: ShardIndex, processes: int
) -> None:
    config = config_of(tmp_path, shards, f"data.batch={processes}")
    require_whole_shares(config, processes)
    assert f"{processes} ranks of 1 image, " in check_plans(loaders_of_all_ranks(index, config, processes), 0, config)


@pytest.mark.parametrize(("images", "epoch"), [(0, 1), (53, 2), (500, 2)])
def test_the_epoch_in_which_the_run_stands_is_planned(
    tmp_path: Path, shards: Path, index: ShardIndex, images: int, epoch: int
) -> None:
    config = config_of(tmp_path, shards)
    assert f"epoch {epoch} of 2" in check_plans(loaders_of_all_ranks(index, config, 1), images, config)


def test_a_plan_in_which_an_image_is_missing_is_noticed(
    tmp_path: Path, shards: Path, index: ShardIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train.checking.plan.Loader, "plans", lambda self, start, stop: iter(()))
    config = config_of(tmp_path, shards)
    with pytest.raises(AssertionError, match="an image comes twice or not at all"):
        check_plans(loaders_of_all_ranks(index, config, 1), 0, config)


@pytest.mark.parametrize(("processes", "overrides"), [(3, []), (4, ["step.accumulate=4"])])
def test_a_batch_that_leaves_a_remainder_is_refused(
    tmp_path: Path, shards: Path, processes: int, overrides: list[str]
) -> None:
    with pytest.raises(ValueError, match=f"data.batch=8 over {processes} processes"):
        require_whole_shares(config_of(tmp_path, shards, *overrides), processes)


def test_without_a_logged_speed_the_time_is_not_known(tmp_path: Path) -> None:
    assert "unknown" in expected_time(tmp_path / "board", 1000)
