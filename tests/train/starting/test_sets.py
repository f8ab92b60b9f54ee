"""A run notices that its sets are no longer those of its last start."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from data.shards.index import ShardIndex
from train.starting.sets import NAME, changed_sets, save_sets


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Run that has a checkpoint."""
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/000000008-0123456789abcdef.pt").touch()
    return tmp_path


def test_sets_that_stay_are_not_mentioned(run: Path, index: ShardIndex) -> None:
    save_sets(run, {"train": index, "val": index})
    elsewhere = replace(index, folder=Path("elsewhere"))
    assert changed_sets(run, {"train": elsewhere, "val": index}) == []


def test_a_set_with_other_bytes_is_named(run: Path, index: ShardIndex) -> None:
    save_sets(run, {"train": replace(index, digest="0" * 64), "val": index})
    (line,) = changed_sets(run, {"train": index, "val": index})
    assert line.startswith(
        f"data.train: {index.folder} holds other shards than at the last start (images then 53, now 53)"
    )


def test_a_run_without_checkpoints_has_trained_on_nothing(tmp_path: Path, index: ShardIndex) -> None:
    save_sets(tmp_path, {"train": replace(index, digest="0" * 64)})
    assert changed_sets(tmp_path, {"train": index}) == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"train": 1}', '{"train": {"digest": "0"}}', "\udcff"])
def test_a_file_of_another_kind_says_nothing(run: Path, index: ShardIndex, text: str) -> None:
    (run / NAME).write_text(text, encoding="utf-8", errors="surrogateescape")
    assert changed_sets(run, {"train": index}) == []
    save_sets(run, {"train": index})
    assert changed_sets(run, {"train": replace(index, digest="1")}) != []


def test_a_pipe_says_nothing(run: Path, index: ShardIndex) -> None:
    os.mkfifo(run / NAME)
    assert changed_sets(run, {"train": index}) == []
