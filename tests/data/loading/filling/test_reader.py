"""A slot filled from a plan: packed or placed, from the shards or from the cache, it is the same batch."""

import shutil
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.images.augment import AugmentConfig
from data.images.on_device import place_packed
from data.loading.config import DataConfig
from data.loading.filling.order import BatchPlan, Order
from data.loading.filling.reader import BatchReader, SlottedPlan
from data.loading.filling.slots import Slot, Slots
from data.loading.loader import Loader
from data.shards.index import ShardIndex

SIDE = 96


def filled(index: ShardIndex, samples: list[int], *, augmented: bool = True, **options: Any) -> tuple[Slot, int]:
    largest = int((index.arrays["widths"] * index.arrays["heights"]).max())
    slots = Slots(2, len(samples), 12, len(samples) * max(largest, SIDE * SIDE) * 3)
    reader = BatchReader(index, slots, AugmentConfig(), seed=3, resize="letterbox", **options)
    numbers = np.array(samples, np.int64)
    result = reader[SlottedPlan(1, BatchPlan(numbers, np.full_like(numbers, 2), SIDE, augmented))]
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


def test_an_image_to_be_evaluated_has_its_own_truths_and_colours(index: ShardIndex) -> None:
    slot, _ = filled(index, [5, 9], augmented=False)
    trained = ~(index.arrays["difficult"] | index.arrays["crowd"])
    for sample, truths in zip((5, 9), slot.truths, strict=True):
        objects = index.objects(sample)
        labels = index.arrays["labels"][objects][trained[objects]].tolist()
        assert truths[: len(labels), 4].tolist() == labels and (truths[len(labels) :, 4] == -1).all()
    np.testing.assert_array_equal(slot.colours, [[0, 1, 1]] * 2)


# ------------------------------------------------------------------------------------------------- mosaic and mixup

MIXED = AugmentConfig(mosaic=0.6, mixup=0.4)


def mixed(index: ShardIndex, start: int, stop: int, *, batch: int = 8, ranks: int = 1, **changes: Any) -> list[Any]:
    """Batches of positions start..stop of a run of 400 images, over all ranks, image by image."""
    fields = {"batch": batch, "sides": [64, 96], "workers": 0, "window": 2, "truth_slots": 80, "augment": MIXED}
    config = DataConfig(train="", val="", batches_per_side=24 // batch, **({"colour": "workers"} | fields | changes))
    found = []
    for rank in range(ranks):
        loader = Loader(index, config, seed=3, rank=rank, world_size=ranks, device=torch.device("cpu"))
        steps = islice(loader.batches(start, 400), (stop - start) // batch)
        found.append([list(zip(step.images, step.truths, step.samples, strict=True)) for step in steps])
    return [image for step in zip(*found, strict=True) for share in step for image in share]


def assert_same(found: list[Any], expected: list[Any]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        for ours, theirs in zip(one, other, strict=True):
            assert torch.equal(ours, theirs)


@pytest.fixture(scope="module")
def expected(index: ShardIndex) -> list[Any]:
    """From the first epoch into the second."""
    return mixed(index, 24, 24 + 96)


@pytest.mark.parametrize(
    "options",
    [{"workers": 2}, {"ranks": 2}, {"ranks": 4}, {"batch": 24}, {"batch": 12, "ranks": 3}, {"batch": 6}],
    ids=str,
)
def test_a_mixed_canvas_depends_on_no_worker_rank_or_batch(
    index: ShardIndex, expected: list[Any], options: dict[str, Any]
) -> None:
    assert_same(mixed(index, 24, 24 + 96, **options), expected)


def test_a_mixed_run_goes_on_where_it_stopped(index: ShardIndex, expected: list[Any]) -> None:
    assert_same(mixed(index, 72, 120), expected[48:])


def test_every_sample_still_comes_once_an_epoch(index: ShardIndex) -> None:
    samples = [int(sample) for _, _, sample in mixed(index, 0, 48)]
    assert len(set(samples)) == 48 <= index.num_samples


def test_canvases_are_mixed_until_their_share_of_the_run(index: ShardIndex) -> None:
    """A run of 400 images, of which the first half is mixed."""
    augment = AugmentConfig(mosaic=1, mix_until=0.5)
    found = mixed(index, 184, 216, augment=augment)
    plain = mixed(index, 184, 216, augment=AugmentConfig())
    equal = [torch.equal(one[0], other[0]) for one, other in zip(found, plain, strict=True)]
    assert equal == [False] * 16 + [True] * 16


def test_the_cache_changes_nothing_of_mixed_canvases(index: ShardIndex, expected: list[Any], tmp_path: Path) -> None:
    for _ in range(2):  # the first time images are stored, the second time they are there
        assert_same(mixed(index, 24, 24 + 96, decoded_cache=str(tmp_path / "cache")), expected)


def test_colours_of_mixed_canvases_are_the_same_on_the_device(index: ShardIndex) -> None:
    here, there = (
        mixed(index, 24, 48, colour=colour, augment=AugmentConfig(mosaic=1)) for colour in ("workers", "device")
    )
    for one, other in zip(here, there, strict=True):
        assert torch.equal(one[1], other[1]) and not torch.equal(one[0], other[0])
    neutral = AugmentConfig(mosaic=1, hue=0, saturation=1, exposure=1)
    here, there = (mixed(index, 24, 48, colour=colour, augment=neutral) for colour in ("workers", "device"))
    assert_same(here, there)


def test_an_image_is_decoded_once_for_all_canvases_of_a_batch(
    index: ShardIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    decode_it = BatchReader._decoded

    def counted(self: BatchReader, source: int, room: Any) -> Any:
        decoded.append(source)
        return decode_it(self, source, room)

    monkeypatch.setattr(BatchReader, "_decoded", counted)
    mixed(index, 0, 48, batch=24, augment=AugmentConfig(mosaic=1, mixup=1))
    assert len(decoded) == len(set(decoded)) == 48


def test_mixup_is_the_mean_of_two_canvases(index: ShardIndex) -> None:
    still = {"hue": 0, "saturation": 1, "exposure": 1}
    both = mixed(index, 0, 24, augment=AugmentConfig(mixup=1, **still))
    first = mixed(index, 0, 24, augment=AugmentConfig(**still))
    for (image, truths, _), (own, own_truths, _) in zip(both, first, strict=True):
        second = 2 * image.int() - own.int()  # of the other image
        assert second.min() >= -1 and second.max() <= 256
        assert (truths[:, 4] >= 0).sum() >= (own_truths[:, 4] >= 0).sum()


def test_an_unreadable_partner_is_replaced_wherever_it_is_shown(index: ShardIndex, tmp_path: Path) -> None:
    folder = shutil.copytree(index.folder, tmp_path / "spoilt")
    lost = int(Order(index.shard_sizes, 3, 2)[0:1][0][0])
    path, start = folder / index.shard_of(lost).name, int(index.arrays["image_offsets"][lost])
    data = bytearray(path.read_bytes())
    data[start : start + 100] = bytes(100)
    path.write_bytes(data)
    augment = AugmentConfig(mosaic=1, hue=0, saturation=1, exposure=1)
    found, whole = mixed(ShardIndex.load(folder), 0, 16, augment=augment), mixed(index, 0, 16, augment=augment)
    changed = [not torch.equal(one[0], other[0]) for one, other in zip(found, whole, strict=True)]
    assert changed[0] and sum(changed[:8]) > 1 and not any(changed[8:])
