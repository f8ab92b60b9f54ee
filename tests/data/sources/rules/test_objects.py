"""Rows become columns and keep what they say."""

import tracemalloc

import numpy as np
import pytest

import data.sources.rules.objects
from data.sources.rules.objects import CROWD, DIFFICULT, FLAT, Objects, blocks_of, slices

ROWS = [
    (n // 2, (n, n + 1, n + 2.5, n + 3), np.nan if n % 3 else n, n % 5, n % 2 == 0, n % 3 == 0, n % 7 == 0, 2**40 + n)
    for n in range(50)
]


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_columns_are_those_of_the_rows(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(data.sources.rules.objects, "BLOCK", block)
    objects = Objects.of_rows(iter(ROWS))
    assert len(objects) == 50 and [len(each) for each in blocks_of(ROWS)][:1] == [min(block, 50)]
    objects.take(np.arange(50)[::-1])
    for row, (picture, xyxy, area, label, difficult, crowd, flat, number) in enumerate(ROWS[::-1]):
        assert (objects.picture[row], objects.label[row], objects.number[row]) == (picture, label, number)
        assert tuple(objects.xyxy_px(row)) == xyxy
        np.testing.assert_equal(objects.area_px[row], area)
        assert objects.marks[row] == DIFFICULT * difficult + CROWD * crowd + FLAT * flat
    assert objects.xyxy_px(slice(3, 9)).shape == (6, 4)


def test_none() -> None:
    assert len(Objects.of_rows(())) == 0 and slices(0) == [] and slices(5, 2) == [slice(0, 2), slice(2, 4), slice(4, 5)]


def test_putting_parts_together_takes_one_column_more() -> None:
    count = 1_000_000
    block = np.zeros(count // 10, data.sources.rules.objects.ROW)
    tracemalloc.start()
    objects = Objects.of_rows(())
    for _ in range(10):
        objects.extend(Objects.of_blocks([block]))
    objects.take(np.arange(count)[::-1])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(objects) == count and peak < 80 * count
