"""Batches end with a sentence on the index when another program writes to it."""

from collections.abc import Generator
from pathlib import Path

import pytest

import data.loading.handover.unchanged
from data.loading.handover.unchanged import while_unchanged
from data.shards.index import ShardIndex

WRITTEN = r"index\.npz was written to while in use"


def spoil(index: ShardIndex) -> None:
    path = index.folder / "index.npz"
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))


@pytest.fixture
def closed() -> list[str]:
    return []


def numbers(closed: list[str], fails_at: int = 9) -> Generator[int]:
    try:
        for number in range(4):
            yield 1 // (number != fails_at)
    finally:
        closed.append("closed")


def test_it_is_seen_between_batches(copy: Path, closed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.loading.handover.unchanged, "LOOK_S", 0)
    index = ShardIndex.load(copy)
    batches = while_unchanged(index, numbers(closed))
    assert next(batches) == 1
    spoil(index)
    with pytest.raises(ValueError, match=WRITTEN):
        next(batches)
    assert closed


def test_it_explains_an_error(copy: Path, closed: list[str]) -> None:
    index = ShardIndex.load(copy)
    batches = while_unchanged(index, numbers(closed, fails_at=1))
    assert next(batches) == 1
    spoil(index)
    with pytest.raises(ValueError, match=WRITTEN):
        next(batches)


def test_it_is_seen_at_the_end(copy: Path, closed: list[str]) -> None:
    index = ShardIndex.load(copy)
    batches = while_unchanged(index, numbers(closed))
    next(batches)
    spoil(index)
    with pytest.raises(ValueError, match=WRITTEN):
        list(batches)


def test_other_errors_stay_as_they_are(copy: Path, closed: list[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        list(while_unchanged(ShardIndex.load(copy), numbers(closed, fails_at=1)))
    assert closed
