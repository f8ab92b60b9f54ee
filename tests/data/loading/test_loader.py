"""Batches: a function of the plan, the seed and the shards; faults replaced, counted, named."""

import dataclasses
import multiprocessing
import shutil
import statistics
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from data.images.augment import AugmentConfig
from data.images.files.decode import decode
from data.images.geometry import letterbox, place_image, stretch
from data.images.on_device import distort_colours, place_packed
from data.loading.batch import Batch
from data.loading.config import DataConfig
from data.loading.filling.order import BatchPlan, Order, plan
from data.loading.filling.slots import Slots, most_pixels
from data.loading.loader import Loader
from data.shards.index import ShardIndex
from data.shards.read import ShardReader

SIDES = [64, 96, 128]


def config_of(**changes: Any) -> DataConfig:
    fields = {"train": "", "val": "", "batch": 8, "sides": SIDES, "truth_slots": 12, "workers": 0, "window": 2}
    return DataConfig(**(fields | changes))


def loader_of(index: ShardIndex, rank: int = 0, world_size: int = 1, seed: int = 3, **changes: Any) -> Loader:
    return Loader(index, config_of(**changes), seed=seed, rank=rank, world_size=world_size, device=torch.device("cpu"))


def assert_equal(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.truths, other.truths)
        assert torch.equal(one.samples, other.samples)
        assert one.faults == other.faults


@pytest.fixture(scope="module")
def middle(index: ShardIndex) -> list[Batch]:
    """Batches from the middle of epoch 1 into epoch 2."""
    return list(loader_of(index).batches(80, 80 + 8 * 5))


@pytest.fixture
def spoilt(shards: Path, index: ShardIndex, tmp_path: Path) -> tuple[ShardIndex, list[int]]:
    """A copy with two images that do not decode: the first, and the last, whose neighbour is the first."""
    folder = shutil.copytree(shards / "train", tmp_path / "spoilt")
    samples = [0, index.num_samples - 1]
    for sample in samples:
        path = folder / index.shard_of(sample).name
        data = bytearray(path.read_bytes())
        start = int(index.arrays["image_offsets"][sample])
        data[start : start + int(index.arrays["image_bytes"][sample])] = bytes(int(index.arrays["image_bytes"][sample]))
        path.write_bytes(data)
    return ShardIndex.load(folder), samples


# --------------------------------------------------------------------------------------------- the same everywhere


@pytest.mark.filterwarnings("ignore:This DataLoader will create . worker processes")
@pytest.mark.parametrize("workers", [1, 3, 7])
def test_batches_do_not_depend_on_the_number_of_workers(index: ShardIndex, middle: list[Batch], workers: int) -> None:
    assert_equal(list(loader_of(index, workers=workers).batches(80, 80 + 8 * 5)), middle)


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_together_have_the_batches_of_one_process(
    index: ShardIndex, middle: list[Batch], world_size: int
) -> None:
    ranks = [list(loader_of(index, rank, world_size).batches(80, 80 + 8 * 5)) for rank in range(world_size)]
    assert {len(found) for found in ranks} == {len(middle)}
    for step, expected in enumerate(middle):
        parts = [found[step] for found in ranks]
        assert torch.equal(torch.cat([part.images for part in parts]), expected.images)
        assert torch.equal(torch.cat([part.truths for part in parts]), expected.truths)
        assert torch.equal(torch.cat([part.samples for part in parts]), expected.samples)


def test_starting_at_a_position_gives_the_same_as_skipping(index: ShardIndex, middle: list[Batch]) -> None:
    from_0 = loader_of(index).batches(0, 10**9)
    assert_equal(list(islice(from_0, 10, 15)), middle)
    assert_equal(list(loader_of(index).batches(96, 120)), middle[2:])


def test_another_seed_gives_other_batches(index: ShardIndex, middle: list[Batch]) -> None:
    other = next(loader_of(index, seed=4).batches(80, 88))
    assert not torch.equal(other.samples, middle[0].samples)


def test_every_sample_comes_once_in_an_epoch(index: ShardIndex) -> None:
    batches = list(loader_of(index, sides=[32]).batches(0, 3 * index.num_samples))
    samples = torch.cat([batch.samples for batch in batches])
    assert {len(batch.samples) for batch in batches} == {8}
    for epoch in range(3):
        part = samples[epoch * index.num_samples : (epoch + 1) * index.num_samples]
        assert sorted(part.tolist()) == list(range(index.num_samples))


def test_the_side_of_every_batch_is_that_of_the_plan(index: ShardIndex) -> None:
    loader = loader_of(index, batches_per_side=2)
    sides = [batch.images.shape for batch in loader.batches(0, 8 * 20)]
    plans = plan(loader.order, start=0, stop=160, batch=8, rank=0, world_size=1, sides=tuple(SIDES), images_per_side=16)
    assert sides == [(8, each.side, each.side, 3) for each in plans]
    assert len({shape[1] for shape in sides}) == 3


def test_the_global_random_state_plays_no_part(index: ShardIndex, middle: list[Batch]) -> None:
    torch.manual_seed(99)
    np.random.seed(99)
    assert_equal(list(loader_of(index).batches(80, 120)), middle)


# -------------------------------------------------------------------------------------------- what is on a batch


def read(index: ShardIndex, samples: list[int], epoch: int, truth_slots: int = 12, **changes: Any) -> Batch:
    numbers = np.array(samples, np.int64)
    loader = loader_of(index, truth_slots=truth_slots, **changes)
    slots = Slots(1, len(samples), truth_slots, len(samples) * 96 * 96 * 3)
    batch = BatchPlan(numbers, np.full_like(numbers, epoch), 96)
    return next(loader._load([batch], loader._reader(slots, packed=False, colour=True)))


def test_a_sample_is_augmented_in_another_way_in_every_epoch(index: ShardIndex) -> None:
    epochs = [read(index, [5], epoch).images.numpy().tobytes() for epoch in range(6)]
    assert len(set(epochs)) == 6
    assert read(index, [5], 2).images.numpy().tobytes() == epochs[2]


def test_a_sample_does_not_depend_on_its_neighbours_in_the_batch(index: ShardIndex) -> None:
    alone, together = read(index, [5], 1), read(index, [9, 2, 5], 1)
    assert torch.equal(alone.images[0], together.images[2]) and torch.equal(alone.truths[0], together.truths[2])


def test_types_and_shapes(middle: list[Batch]) -> None:
    for batch in middle:
        assert batch.images.dtype == torch.uint8 and batch.truths.dtype == torch.float32
        assert batch.samples.dtype == torch.int64 and batch.faults == []
        assert batch.truths.shape == (8, 12, 5) and batch.images.is_contiguous()


def test_truths_are_inside_the_canvas_and_free_slots_come_last(index: ShardIndex) -> None:
    augment = AugmentConfig(scale_min=0.25, scale_max=2)
    labels: set[int] = set()
    for batch in loader_of(index, augment=augment).batches(0, 8 * 14):
        used = batch.truths[..., 4] >= 0
        assert not (used[:, 1:] & ~used[:, :-1]).any()
        assert (batch.truths[~used] == torch.tensor([0, 0, 0, 0, -1.0])).all()
        centre, size = batch.truths[used][:, :2], batch.truths[used][:, 2:4]
        assert (size >= 0.0009).all() and (centre - size / 2 >= -1e-6).all() and (centre + size / 2 <= 1 + 1e-6).all()
        labels |= set(batch.truths[used][:, 4].int().tolist())
    assert labels == set(range(len(index.classes)))


@pytest.mark.parametrize("column", ["difficult", "crowd"])
def test_difficult_and_crowd_objects_are_never_trained_on(index: ShardIndex, column: str) -> None:
    none = np.zeros_like(index.arrays["difficult"])
    marked = none.copy()
    marked[::2] = True
    plain = {"difficult": none, "crowd": none}
    everything = read(dataclasses.replace(index, arrays=index.arrays | plain), list(range(20)), 0, truth_slots=40)
    some = read(
        dataclasses.replace(index, arrays=index.arrays | plain | {column: marked}), list(range(20)), 0, truth_slots=40
    )
    for row in range(20):
        objects = index.objects(row)
        kept = sorted(index.arrays["labels"][objects][~marked[objects]].tolist())
        labels = some.truths[row, :, 4]
        assert sorted(labels[labels >= 0].int().tolist()) == kept
        boxes = {tuple(truth) for truth in everything.truths[row].tolist()}
        assert {tuple(truth) for truth in some.truths[row].tolist()} <= boxes | {(0.0, 0.0, 0.0, 0.0, -1.0)}
    assert int((everything.truths[..., 4] >= 0).sum()) > int((some.truths[..., 4] >= 0).sum()) > 0


def test_which_objects_fill_too_few_slots_changes_by_epoch(index: ShardIndex) -> None:
    sample = int(np.argmax(np.diff(index.arrays["object_starts"])))
    first = {read(index, [sample], epoch, truth_slots=1).truths[0, 0, 4].item() for epoch in range(30)}
    assert len(first) > 1


def test_the_boxes_fit_the_pixels(index: ShardIndex) -> None:
    """Without any chance a batch is the resized image and its boxes."""
    still = AugmentConfig(jitter=0, flip=0, hue=0, saturation=1, exposure=1, policy="crop")
    batch = read(index, [4], 0, augment=still)
    with ShardReader(index) as reader:
        image = decode(reader.image(4))
    canvas = np.empty((96, 96, 3), np.uint8)
    place_image(image, stretch(image.shape[1], image.shape[0], 96), canvas)
    assert np.abs(batch.images[0].numpy().astype(int) - canvas).mean() < 0.5  # there and back through HSV
    objects = index.objects(4)
    trained = ~index.arrays["difficult"][objects]
    width, height = index.size_px(4)
    expected = index.arrays["boxes_xyxy_px"][objects][trained] / [width, height, width, height]
    truths = batch.truths[0][batch.truths[0, :, 4] >= 0].numpy()
    found = np.concatenate([truths[:, :2] - truths[:, 2:4] / 2, truths[:, :2] + truths[:, 2:4] / 2], 1)
    np.testing.assert_allclose(sorted(found.tolist()), sorted(expected.tolist()), atol=1e-5)


# ------------------------------------------------------------------------------------------------------- evaluation


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_evaluation_shows_each_image_once(index: ShardIndex, world_size: int) -> None:
    found: list[int] = []
    for rank in range(world_size):
        share = list(loader_of(index, rank, world_size, batch=12).evaluation_batches(64, 5))
        lengths = [len(batch.samples) for batch in share]
        assert all(length == 5 for length in lengths[:-1]) and 0 < lengths[-1] <= 5
        assert all(batch.images.shape[1:] == (64, 64, 3) for batch in share)
        found += torch.cat([batch.samples for batch in share]).tolist()
    assert sorted(found) == list(range(53))


def test_evaluation_may_have_more_ranks_than_images(shards: Path) -> None:
    index = ShardIndex.load(shards / "val")
    shares = [list(loader_of(index, rank, 24, batch=24).evaluation_batches(32, 4)) for rank in range(24)]
    assert [len(share) for share in shares] == [1] * 21 + [0] * 3
    assert [share[0].samples.tolist() for share in shares[:21]] == [[rank] for rank in range(21)]


@pytest.mark.parametrize("size", [(96, 96), (128, 64)])
@pytest.mark.parametrize(("resize", "placement"), [("letterbox", letterbox), ("stretch", stretch)])
def test_evaluation_resizes_and_does_nothing_else(
    index: ShardIndex, resize: str, placement: Any, size: tuple[int, int]
) -> None:
    batch = next(loader_of(index, resize=resize).evaluation_batches(size, 4))
    with ShardReader(index) as reader:
        for row, sample in enumerate(batch.samples.tolist()):
            image, canvas = decode(reader.image(sample)), np.empty((*size[::-1], 3), np.uint8)
            place_image(image, placement(image.shape[1], image.shape[0], size), canvas)
            np.testing.assert_array_equal(batch.images[row].numpy(), canvas)


# ------------------------------------------------------------------------------------------------ left to the device


def test_geometry_and_colour_may_be_left_to_the_device(index: ShardIndex, middle: list[Batch]) -> None:
    plain = list(loader_of(index, augment=AugmentConfig(hue=0, saturation=1, exposure=1)).batches(80, 120))
    for workers in (0, 1):
        left = list(loader_of(index, workers=workers, geometry="device").batches(80, 120))
        for ours, theirs, undistorted in zip(left, middle, plain, strict=True):
            assert ours.layout is not None and ours.colours is not None
            canvases = place_packed(ours.images, ours.layout, ours.side)
            assert (canvases.int() - undistorted.images.int()).abs().max() <= 1
            floats = distort_colours(canvases.float() / 255, ours.colours) * 255
            assert (floats - theirs.images).abs().mean() < 1.5
            assert torch.equal(ours.truths, theirs.truths) and torch.equal(ours.samples, theirs.samples)


def test_colour_may_be_left_to_the_device(index: ShardIndex, middle: list[Batch]) -> None:
    for ours, theirs in zip(loader_of(index, colour="device").batches(80, 120), middle, strict=True):
        assert ours.colours is not None and ours.layout is None and theirs.colours is None
        assert (distort_colours(ours.images.float() / 255, ours.colours) * 255 - theirs.images).abs().mean() < 1.5


@pytest.mark.parametrize("options", [{}, {"geometry": "device"}, {"colour": "device"}], ids=str)
def test_a_blank_batch_is_like_the_real_ones(index: ShardIndex, options: Any) -> None:
    loader = loader_of(index, 1, 2, **options)
    blanks = {batch.side: batch for batch in loader.blank_batches()}
    assert list(blanks) == sorted(SIDES, reverse=True)
    for real in loader.batches(0, 8 * 20):
        for name in ("truths", "colours", "layout", "images", "samples"):
            ours, theirs = getattr(blanks[real.side], name), getattr(real, name)
            assert (ours is None) == (theirs is None)
            if ours is not None and not (name == "images" and "geometry" in options):
                assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        assert real.layout is None or place_packed(real.images, real.layout, real.side).shape[0] == 4
    for blank in blanks.values():
        if blank.layout is not None:
            assert place_packed(blank.images, blank.layout, blank.side).shape == (4, blank.side, blank.side, 3)


def test_batches_stay_as_they_are_while_more_are_made(index: ShardIndex, middle: list[Batch]) -> None:
    """Slots are written to again; a batch that was handed out is not."""
    kept = []
    for batch in loader_of(index, workers=1).batches(80, 80 + 8 * 12):
        kept.append((batch, batch.images.clone()))
    assert all(torch.equal(batch.images, copy) for batch, copy in kept)
    assert_equal([batch for batch, _ in kept][:5], middle)


@pytest.mark.parametrize("batch", [1, 8, 64, 200])
def test_every_batch_of_decoded_images_has_room(index: ShardIndex, batch: int) -> None:
    """Also where an epoch ends in it, or several do."""
    pixels = index.arrays["widths"].astype(np.int64) * index.arrays["heights"]
    room, order = most_pixels(index, batch), Order(index.shard_sizes, 3, 2)
    needed = [int(pixels[order[start : start + batch][0]].sum()) for start in range(0, 60 * batch, batch)]
    assert max(needed) <= room <= batch * pixels.max()
    one_of_many = np.where(np.arange(index.num_samples) == 5, 60_000, 1)
    uneven = dataclasses.replace(index, arrays=index.arrays | {"widths": one_of_many})
    assert most_pixels(uneven, 8) < 3 * 60_000 * index.size_px(5)[1]


def test_a_batch_without_room_for_an_image_says_so(index: ShardIndex) -> None:
    reader = loader_of(index)._reader(Slots(1, 1, 12, 0), packed=True, colour=False)
    width, height = index.size_px(3)
    with pytest.raises(ValueError, match=f"no room in the batch for another image of {width}x{height} px"):
        reader._decoded(3, np.empty(width * height * 3 - 1, np.uint8))


# ------------------------------------------------------------------------------------------------ memory and start


def anonymous_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0])


@pytest.mark.slow
@pytest.mark.parametrize("geometry", ["workers", "device"])
def test_workers_do_not_grow_over_epochs(index: ShardIndex, geometry: str) -> None:
    before = {process.pid for process in multiprocessing.active_children()}
    batches = loader_of(index, workers=2, geometry=geometry, sides=[320, 416]).batches(0, 10**9)
    rss: list[dict[int, int]] = []
    for _ in range(6):
        for _ in islice(batches, 10 * index.num_samples // 8):
            pass
        workers = {process.pid for process in multiprocessing.active_children()} - before
        rss.append({pid: anonymous_kb(pid) for pid in workers if pid is not None})
    assert len(rss[0]) == 2
    for pid, first in rss[1].items():
        assert rss[-1][pid] <= 1.02 * first, rss


@pytest.mark.slow
def test_the_first_batch_comes_as_soon_at_the_end_of_an_epoch(index: ShardIndex) -> None:
    """Nothing is read or drawn to get to a position."""

    def seconds(start: int) -> float:
        began = time.perf_counter()
        next(loader_of(index).batches(start, 10**9))
        return time.perf_counter() - began

    late = 1000 * index.num_samples + int(0.9 * index.num_samples)
    times = [(seconds(0), seconds(late)) for _ in range(15)]
    first, last = (statistics.median(column) for column in zip(*times, strict=True))
    assert last < 1.5 * first + 0.01


# ----------------------------------------------------------------------------------------------------------- faults


def test_an_unreadable_image_is_replaced_by_the_next_one_and_named(
    spoilt: tuple[ShardIndex, list[int]], capsys: pytest.CaptureFixture[str]
) -> None:
    index, samples = spoilt
    loader = loader_of(index)
    found = list(loader.batches(0, 53 * 2))
    again = loader_of(index)
    assert_equal(list(again.batches(0, 53 * 2)), found)  # always by the same image
    printed = capsys.readouterr().err
    name = f"{index.shards[0].name}/{index.key(0)}: neither JPEG nor another known image format"
    assert f"replaced an unreadable image: {name}" in printed
    faults = [fault for batch in found for fault in batch.faults]
    times = torch.cat([batch.samples for batch in found]).tolist()
    # the last one is replaced by the first one, which is replaced by the second one: two faults
    expected = times.count(samples[0]) + 2 * times.count(samples[1])
    assert loader.faults == again.faults == len(faults) == expected >= 6


def test_in_place_of_an_unreadable_image_stands_a_whole_one_with_its_own_objects(
    spoilt: tuple[ShardIndex, list[int]],
) -> None:
    index, samples = spoilt
    still = AugmentConfig(jitter=0, flip=0, policy="crop")
    batch, instead = read(index, samples, 0, augment=still), read(index, [1], 0, augment=still)
    count = int((instead.truths[0, :, 4] >= 0).sum())
    for row in range(2):
        assert sorted(batch.truths[row].tolist()) == sorted(instead.truths[0].tolist())
    assert batch.samples.tolist() == samples and len(batch.faults) == 3 and count > 0


def test_too_many_unreadable_images_end_the_run(spoilt: tuple[ShardIndex, list[int]]) -> None:
    index, _ = spoilt
    message = (
        r"[45] unreadable images, more than data\.max_faults=3; last: shard-.*; run `python -m data\.shards verify /"
    )
    with pytest.raises(ValueError, match=message):
        list(loader_of(index, max_faults=3, batch=1).batches(0, 53 * 10))
    with pytest.raises(ValueError, match=r"more than data\.max_faults=0"):
        list(loader_of(index, max_faults=0).batches(0, 53))


def test_an_unreadable_image_is_not_evaluated(spoilt: tuple[ShardIndex, list[int]]) -> None:
    index, _ = spoilt
    with pytest.raises(ValueError, match=rf"cannot evaluate: .*/{index.key(0)}: .*`python -m data\.shards verify`"):
        list(loader_of(index).evaluation_batches(64, 8))


def test_shards_without_any_readable_image_are_refused(spoilt: tuple[ShardIndex, list[int]]) -> None:
    index, _ = spoilt
    for name in [shard.name for shard in index.shards]:
        path = index.folder / name
        path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(ValueError, match=r"no image in .* can be decoded; run `python -m data\.shards verify`"):
        read(index, [7], 0)


# --------------------------------------------------------------------------------------------------------- settings


def test_a_batch_that_the_processes_cannot_share_is_refused(index: ShardIndex) -> None:
    with pytest.raises(ValueError, match=r"data\.batch=8 over 3 processes leaves a remainder; use a multiple of 3"):
        loader_of(index, 0, 3)
