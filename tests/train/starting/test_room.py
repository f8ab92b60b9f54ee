"""Room on the disks that a run writes to."""

import resource
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data.shards.index import ShardIndex
from launch.processes.environment import Environment
from tests.train.checking.test_plan import config_of
from tests.train.stepping.test_step import small_step
from train.config import Config
from train.schedule.duration import RunLength
from train.starting.room import (
    Need,
    for_board,
    for_checkpoints,
    for_decoded,
    for_staging,
    lacking,
    num_bytes,
    require_one,
    say_room,
)


@pytest.fixture
def config(tmp_path: Path, shards: Path) -> Config:
    return config_of(tmp_path, shards)


def with_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 0, free))


def test_what_lies_on_one_disk_is_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, 5_000_000)
    needs = [Need(tmp_path / "not/yet", 3_000_000, "of a"), Need(tmp_path, 2_000_000, "of b")]
    assert lacking(needs) == []
    (sentence,) = lacking([*needs, Need(tmp_path / "more", 1_000_000, "of c")])
    assert sentence.startswith(f"{tmp_path}/more: expected room for 1.0 MB of c, found 0.0 MB; free some")


def test_checkpoints_that_are_there_need_no_more_room(config: Config) -> None:
    folder = Path(config.run) / "checkpoints"
    assert for_checkpoints(config, 100).size == 400 and for_checkpoints(config, 100).folder == folder
    folder.mkdir(parents=True)
    for name in ("a.pt", "b.pt"):
        (folder / name).write_bytes(bytes(100))
    assert for_checkpoints(config, 100).size == 200


def test_the_board_of_a_longer_run_is_larger(config: Config) -> None:
    sizes = [for_board(config, RunLength(1000, epochs), 500, 6).size for epochs in (1, 10)]
    assert 0 < sizes[0] < sizes[1] and for_board(config, RunLength(1000, 1), 1000, 6).size == 0


def test_shards_that_have_arrived_need_no_more_room(config: Config, index: ShardIndex, tmp_path: Path) -> None:
    config = replace(config, data=replace(config.data, staging=str(tmp_path / "staging")))
    size = sum(shard.bytes for shard in index.shards)
    assert for_staging(config, index).size == size
    (tmp_path / "staging" / index.folder.name).mkdir(parents=True)
    shutil.copy(index.folder / index.shards[0].name, tmp_path / "staging" / index.folder.name)
    assert for_staging(config, index).size == size - index.shards[0].bytes


def test_a_disk_without_room_for_one_checkpoint_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_free(monkeypatch, 100)
    require_one(tmp_path, 100)
    with pytest.raises(ValueError, match=r"expected room for a checkpoint of 0\.0 MB, found"):
        require_one(tmp_path, 101)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 0))
    require_one(tmp_path, 101)  # a disk that does not say
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 100))
    with pytest.raises(ValueError, match="raise it with ulimit -f"):
        require_one(tmp_path, 101)


def test_disks_that_will_fill_up_are_told_before_training(
    config: Config,
    index: ShardIndex,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = replace(config, data=replace(config.data, decoded_cache=str(tmp_path / "cache")))
    sets, step, end = {"train": index, "val": index}, small_step(), config.epochs * index.num_samples
    decoded = for_decoded(tmp_path, index).size
    assert decoded == sum(width * height * 3 for width, height in map(index.size_px, range(index.num_samples)))
    for free, images, told in (
        (10**9, 0, []),
        (2 * decoded - 1, end, ["decoded"]),
        (2 * 10**6, 0, ["its board", "decoded"]),
    ):
        with_free(monkeypatch, free)
        say_room(config, step, sets, Environment(), images)
        lines = capsys.readouterr().err.splitlines()
        assert all(any(what in line for line in lines) for what in told) and bool(lines) == bool(told)
    with_free(monkeypatch, 10)
    with pytest.raises(ValueError, match="expected room for a checkpoint"):
        say_room(config, step, sets, Environment(), 0)
    (tmp_path / "file").touch()
    config = replace(config, data=replace(config.data, decoded_cache=str(tmp_path / "file")))
    with pytest.raises(FileExistsError):
        say_room(config, step, sets, Environment(), end)


def test_bytes_are_counted_at_any_depth() -> None:
    assert num_bytes({"a": [torch.zeros(3), (torch.zeros(2, dtype=torch.int8), "x")], "b": None}) == 14
