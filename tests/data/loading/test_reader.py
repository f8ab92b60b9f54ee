"""A slot filled from a plan: packed or placed, from the shards or from the cache, it is the same batch."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.images.augment import AugmentConfig
from data.images.on_device import place_packed
from data.loading.order import BatchPlan
from data.loading.reader import BatchReader, Numbered
from data.loading.slots import Slot, Slots
from data.shards.index import ShardIndex

SIDE = 96


def filled(index: ShardIndex, samples: list[int], *, augmented: bool = True, **options: Any) -> tuple[Slot, int]:
    largest = int((index.arrays["widths"] * index.arrays["heights"]).max())
    slots = Slots(2, len(samples), 12, len(samples) * max(largest, SIDE * SIDE) * 3)
    reader = BatchReader(index, slots, AugmentConfig(), seed=3, resize="letterbox", **options)
    numbers = np.array(samples, np.int64)
    result = reader[Numbered(1, BatchPlan(numbers, np.full_like(numbers, 2), SIDE, augmented))]
    assert result.faults == []
    return slots[1], result.num_bytes


def test_a_packed_batch_is_the_placed_one_before_its_geometry(index: ShardIndex) -> None:
    samples = [5, 9, 2, 40]
    placed, num_bytes = filled(index, samples, colour=False)
    assert num_bytes == len(samples) * SIDE * SIDE * 3
    packed, num_bytes = filled(index, samples, packed=True, colour=False)
    assert num_bytes == sum(3 * np.prod(index.size_px(sample)) for sample in samples)
    canvases = place_packed(torch.from_numpy(packed.pixels[:num_bytes]), torch.from_numpy(packed.layout), SIDE)
    expected = placed.pixels[: len(samples) * SIDE * SIDE * 3].reshape(canvases.shape)
    assert np.abs(canvases.numpy().astype(int) - expected).max() <= 1
    np.testing.assert_array_equal(packed.truths, placed.truths)
    np.testing.assert_array_equal(packed.colours, placed.colours)


def test_the_cache_changes_nothing_but_the_time(index: ShardIndex, tmp_path: Path) -> None:
    for packed in (False, True):
        plain, _ = filled(index, [5, 9, 2], packed=packed)
        for _ in range(2):  # the first time it is stored, the second time it is there
            cached, _ = filled(index, [5, 9, 2], packed=packed, cache=str(tmp_path / "cache"))
            for ours, theirs in zip(cached, plain, strict=True):
                np.testing.assert_array_equal(ours, theirs)


def test_colours_are_drawn_though_the_device_changes_them(index: ShardIndex) -> None:
    here, _ = filled(index, [5, 9], colour=True)
    there, _ = filled(index, [5, 9], colour=False)
    np.testing.assert_array_equal(here.colours, there.colours)
    np.testing.assert_array_equal(here.truths, there.truths)
    assert not np.array_equal(here.pixels, there.pixels)
    assert len(np.unique(here.colours)) == 6


def test_an_image_to_be_evaluated_has_no_truths_and_its_own_colours(index: ShardIndex) -> None:
    slot, _ = filled(index, [5, 9], augmented=False)
    assert (slot.truths[..., 4] == -1).all()
    np.testing.assert_array_equal(slot.colours, [[0, 1, 1]] * 2)
