"""Drawn pictures to shards, once."""

from pathlib import Path

import pytest

from data.demo import DrawnConfig, draw_shards
from data.shards.index import ShardIndex


def times(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_both_sets_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = DrawnConfig(pictures=str(tmp_path / "pictures"), train=6, val=3, seed=2)
    train, val = tmp_path / "train", tmp_path / "val"
    draw_shards(config, str(train), str(val))
    assert ShardIndex.load(train).num_samples == 6 and ShardIndex.load(val).num_samples == 3
    assert ShardIndex.load(train).source == "voc VOC2007:train"
    before = times(tmp_path)
    draw_shards(config, str(train), str(val))
    assert times(tmp_path) == before
    # one is gone: it is made again from the same pictures, with the same bytes
    whole = (val / "index.json").read_bytes()
    for path in val.iterdir():
        path.unlink()
    monkeypatch.setattr("data.demo.draw_voc", None)
    draw_shards(config, str(train), str(val))
    assert (val / "index.json").read_bytes() == whole
    assert {path: time for path, time in times(tmp_path).items() if val not in (path, *path.parents)} == {
        path: time for path, time in before.items() if val not in (path, *path.parents)
    }
