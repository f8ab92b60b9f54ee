"""The stream of samples: every sample once an epoch, the same stream for any number of ranks, from any position."""

import tracemalloc
from collections import Counter
from itertools import islice, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from data.loading.filling.order import GROUP, KEPT_WINDOWS, BatchPlan, Order, batch_side, epoch_order, plan, shard_order
from data.randomness import Purpose, random_bits

GRID = [[1], [7], [1, 1, 1], [5, 9, 1, 12, 3], [40, 2, 2, 2, 2, 2, 2, 2, 2, 2], [13] * 17]
SIDES = (320, 352, 384, 416, 448, 480, 512, 544, 576, 608)


def sizes(*numbers: int) -> NDArray[np.int64]:
    return np.array(numbers, np.int64)


def plans(
    order: Order, start: int, stop: int, batch: int, rank: int = 0, world_size: int = 1, images_per_side: int = 120
) -> list[BatchPlan]:
    return list(
        plan(
            order,
            start=start,
            stop=stop,
            batch=batch,
            rank=rank,
            world_size=world_size,
            sides=SIDES,
            images_per_side=images_per_side,
        )
    )


def stream(found: list[BatchPlan]) -> list[tuple[int, int]]:
    """(epoch, sample) at every position."""
    return [
        (epoch, sample)
        for each in found
        for epoch, sample in zip(each.epochs.tolist(), each.samples.tolist(), strict=True)
    ]


@pytest.mark.parametrize("shard_sizes", GRID, ids=str)
@pytest.mark.parametrize("window", [1, 3, 8])
@pytest.mark.parametrize("epoch", [0, 1, 1000])
def test_every_sample_comes_exactly_once_in_an_epoch(shard_sizes: list[int], window: int, epoch: int) -> None:
    order = epoch_order(sizes(*shard_sizes), 3, epoch, window)
    np.testing.assert_array_equal(np.sort(order), np.arange(sum(shard_sizes)))


@given(
    shard_sizes=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    seed=st.integers(0, 2**63),
    epoch=st.integers(0, 2**40),
    window=st.integers(1, 40),
)
def test_an_epoch_is_a_permutation(shard_sizes: list[int], seed: int, epoch: int, window: int) -> None:
    order = epoch_order(sizes(*shard_sizes), seed, epoch, window)
    np.testing.assert_array_equal(np.sort(order), np.arange(sum(shard_sizes)))


def test_epochs_and_seeds_differ_and_the_same_ones_are_equal() -> None:
    shard_sizes = sizes(5, 9, 1, 12, 3)
    orders = {(seed, epoch): epoch_order(shard_sizes, seed, epoch, 2).tolist() for seed in (0, 1) for epoch in range(4)}
    assert len({tuple(order) for order in orders.values()}) == len(orders)
    for (seed, epoch), order in orders.items():
        assert epoch_order(shard_sizes, seed, epoch, 2).tolist() == order


def test_the_order_is_pinned() -> None:
    """A run that is resumed under another version must continue the same stream."""
    assert epoch_order(sizes(3, 4, 2), 0, 0, 2).tolist() == [1, 2, 7, 0, 8, 6, 3, 5, 4]


def test_samples_of_one_window_of_shards_stay_together() -> None:
    shard_sizes = sizes(*[6, 2, 9, 4, 1, 5, 7, 3, 8, 2, 4])
    shard_of = np.repeat(np.arange(len(shard_sizes)), shard_sizes)
    window = 3
    seen: list[int] = []
    order = epoch_order(shard_sizes, 1, 5, window).tolist()
    while order:
        group: list[int] = []  # the next shards, as many as a window has
        count = 0
        while count < len(order) and len(group) <= window:
            shard = int(shard_of[order[count]])
            if shard not in group:
                if len(group) == window:
                    break
                group.append(shard)
            count += 1
        assert count == int(shard_sizes[group].sum())
        assert not set(group) & set(seen)
        seen += group
        order = order[count:]
    assert sorted(seen) == list(range(len(shard_sizes)))


def test_samples_are_mixed_inside_a_window() -> None:
    shard_of = np.repeat(np.arange(4), 50)
    order = epoch_order(sizes(50, 50, 50, 50), 0, 0, 4)
    changes = int((np.diff(shard_of[order]) != 0).sum())
    assert changes > 120  # 149 expected; 3 if the shards followed each other


@pytest.mark.parametrize(("world_size", "batch"), [(1, 8), (2, 8), (4, 8), (3, 12), (4, 12)])
@pytest.mark.parametrize("shard_sizes", [[5, 9, 1, 12, 3], [1], [3]], ids=str)
def test_ranks_together_have_the_stream_of_one_process(shard_sizes: list[int], world_size: int, batch: int) -> None:
    stop = batch * 9
    alone = plans(Order(sizes(*shard_sizes), 4, 2), 0, stop, batch)
    ranks = [plans(Order(sizes(*shard_sizes), 4, 2), 0, stop, batch, rank, world_size) for rank in range(world_size)]
    assert {len(found) for found in ranks} == {len(alone)}
    for step, expected in enumerate(alone):
        assert {len(found[step].samples) for found in ranks} == {batch // world_size}
        assert {found[step].side for found in ranks} == {expected.side}
        np.testing.assert_array_equal(np.concatenate([found[step].samples for found in ranks]), expected.samples)
        np.testing.assert_array_equal(np.concatenate([found[step].epochs for found in ranks]), expected.epochs)


@pytest.mark.parametrize("world_size", [1, 2, 3, 7, 8, 64, 255, 256])
@pytest.mark.parametrize("num_shards", [1, 2, 5, 13, 64])
def test_on_a_grid_of_shards_and_ranks(num_shards: int, world_size: int) -> None:
    """Two epochs: equal batches, no sample twice in an epoch or left out, the same global batches for every world."""
    order = Order(1 + random_bits(num_shards, Purpose.WRITING, 5).astype(np.int64) % 23, 9, 8)
    batch, total = 2 * world_size, 2 * order.num_samples
    ranks = [plans(order, 0, total, batch, rank, world_size) for rank in range(world_size)]
    assert {len(found) for found in ranks} == {-(-total // batch)}
    assert {len(each.samples) for found in ranks for each in found} == {2}
    together = [pair for step in zip(*ranks, strict=True) for pair in stream(list(step))]
    assert together == stream(plans(order, 0, total, batch))
    counts = Counter(together[:total])
    assert set(counts.values()) == {1} and len(counts) == total  # every sample of both epochs, once


@settings(max_examples=200, deadline=None)
@given(
    shard_sizes=st.lists(st.integers(1, 50), min_size=1, max_size=64),
    world_size=st.integers(1, 256),
    local=st.integers(1, 4),
    start=st.integers(0, 10**7),
    window=st.integers(1, 70),
)
def test_ranks_share_every_batch_wherever_it_is(
    shard_sizes: list[int], world_size: int, local: int, start: int, window: int
) -> None:
    order, batch = Order(sizes(*shard_sizes), 3, window), world_size * local
    whole = plans(order, start, start + 2 * batch, batch)
    shares = [plans(order, start, start + 2 * batch, batch, rank, world_size) for rank in {0, world_size // 2}]
    for share, rank in zip(shares, sorted({0, world_size // 2}), strict=True):
        for ours, all_ranks in zip(share, whole, strict=True):
            mine = slice(rank * local, (rank + 1) * local)
            assert ours.samples.tolist() == all_ranks.samples[mine].tolist()
            assert ours.epochs.tolist() == all_ranks.epochs[mine].tolist()
            assert ours.side == all_ranks.side


def by_sorting_all(shard_sizes: NDArray[np.int64], seed: int, epoch: int, window: int) -> list[int]:
    """The whole epoch at once, as docs/data.md has it."""
    starts, shards = np.cumsum(shard_sizes) - shard_sizes, shard_order(len(shard_sizes), seed, epoch)
    samples = np.concatenate([starts[shard] + np.arange(shard_sizes[shard]) for shard in shards])
    windows = np.repeat(np.arange(len(shards)) // window, shard_sizes[shards])
    order = samples[np.lexsort((random_bits(len(samples), Purpose.SAMPLE_ORDER, seed, epoch), windows))]
    return [int(sample) for sample in order]


@given(
    shard_sizes=st.lists(st.integers(1, 40), min_size=1, max_size=30),
    seed=st.integers(0, 2**63),
    epoch=st.integers(0, 2**40),
    window=st.integers(1, 40),
    start=st.integers(0, 1000),
    length=st.integers(0, 100),
)
def test_any_part_of_an_epoch_is_that_of_the_whole(
    shard_sizes: list[int], seed: int, epoch: int, window: int, start: int, length: int
) -> None:
    whole = by_sorting_all(sizes(*shard_sizes), seed, epoch, window)
    start = min(start, len(whole))
    first = epoch * len(whole) + start
    samples, epochs = Order(sizes(*shard_sizes), seed, window)[first : first + min(length, len(whole) - start)]
    assert samples.tolist() == whole[start : start + length] and set(epochs.tolist()) <= {epoch}


@pytest.mark.parametrize("images", [118_000, 10_000_000])
def test_planning_costs_a_rank_no_more_for_more_images_or_ranks(images: int) -> None:
    """Two epochs' orders of shards, and a few windows of samples."""
    shard_sizes = np.full(images // 200, 200)
    peaks = {}
    for world_size in (1, 1024):
        tracemalloc.start()
        order = Order(shard_sizes, 0, 8)
        start = 3 * images // 2
        found = plan(
            order, start=start, stop=10**9, batch=1024, rank=0, world_size=world_size, sides=SIDES, images_per_side=10
        )
        for each in islice(found, 300):
            assert len(each.samples) == 1024 // world_size
        peaks[world_size] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peaks[1024] <= peaks[1] < len(shard_sizes) * 8 * 12 + 500_000


def test_the_stream_does_not_depend_on_the_batch_size() -> None:
    streams = [stream(plans(Order(sizes(5, 9, 1, 12, 3), 0, 2), 0, 240, batch)) for batch in (1, 4, 16, 60, 120)]
    assert all(len(found) == 240 and found == streams[0] for found in streams)


@pytest.mark.parametrize("batch", [1, 4, 7, 31, 64])
@pytest.mark.parametrize("shard_sizes", GRID, ids=str)
def test_the_end_of_an_epoch_is_filled_from_the_next_one(shard_sizes: list[int], batch: int) -> None:
    num_samples, epochs = sum(shard_sizes), 3
    found = stream(plans(Order(sizes(*shard_sizes), 2, 2), 0, epochs * num_samples, batch))
    assert epochs * num_samples <= len(found) < epochs * num_samples + batch
    for epoch in range(epochs):
        part = found[epoch * num_samples : (epoch + 1) * num_samples]
        assert {number for number, _ in part} == {epoch}
        assert sorted(sample for _, sample in part) == list(range(num_samples))
    assert set(Counter(sample for _, sample in found[: epochs * num_samples]).values()) == {epochs}


@pytest.mark.parametrize("steps", [1, 3, 4, 11])
def test_starting_at_a_position_gives_the_same_as_skipping(steps: int) -> None:
    batch, stop = 8, 8 * 20
    whole = plans(Order(sizes(5, 9, 1, 12, 3), 4, 2), 0, stop, batch)
    later = plans(Order(sizes(5, 9, 1, 12, 3), 4, 2), steps * batch, stop, batch)
    assert stream(later) == stream(whole[steps:])
    assert [each.side for each in later] == [each.side for each in whole[steps:]]


def test_only_the_windows_that_are_needed_are_sorted_and_each_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[int, int]] = []
    sort = Order._sorted_window

    def counted(order: Order, epoch: int, number: int) -> NDArray[np.int64]:
        made.append((epoch, number))
        return sort(order, epoch, number)

    monkeypatch.setattr(Order, "_sorted_window", counted)
    for epoch in (0, 1000):
        made.clear()
        start = epoch * 30
        steps = plan(
            Order(sizes(5, 9, 1, 12, 3), 0, 2),
            start=start,
            stop=start + 10**12,
            batch=6,
            rank=0,
            world_size=1,
            sides=SIDES,
            images_per_side=60,
        )
        first = next(steps)
        assert made == [(epoch, 0)] and set(first.epochs.tolist()) == {epoch}
        list(islice(steps, 14))
        assert made == [(epoch + more, number) for more in range(3) for number in range(3)]


def test_no_more_than_two_epochs_and_a_few_windows_are_held() -> None:
    order = Order(sizes(5, 9, 1, 12, 3), 0, 2)
    for each in range(0, 300, 7):
        _ = order[each : each + 7]
        assert len(order._epochs) <= 2 and len(order._windows) <= KEPT_WINDOWS


def test_all_sides_are_reached_and_change_every_10_batches() -> None:
    batch, seed = 8, 5
    found = [each.side for each in plans(Order(sizes(11, 4), seed, 2), 0, 8 * 4000, batch, images_per_side=80)]
    blocks = [set(found[first : first + 10]) for first in range(0, 4000, 10)]
    assert all(len(block) == 1 for block in blocks)
    counts = Counter(side for block in blocks for side in block)
    assert set(counts) == set(SIDES)
    assert min(counts.values()) > 20 and max(counts.values()) < 65  # 40 each expected
    changes = sum(before != after for before, after in pairwise(blocks))
    assert changes > 330  # 9 of 10 expected


def test_a_side_is_a_function_of_position_and_seed() -> None:
    assert [batch_side(p, 1, SIDES, 80) for p in range(0, 8000, 8)] == [
        batch_side(p, 1, SIDES, 80) for p in range(0, 8000, 8)
    ]
    assert [batch_side(p, 1, SIDES, 80) for p in range(0, 8000, 80)] != [
        batch_side(p, 2, SIDES, 80) for p in range(0, 8000, 80)
    ]
    assert batch_side(123456, 9, (416,), 640) == 416


@given(
    shard_sizes=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    window=st.integers(1, 9),
    position=st.integers(0, 500),
)
def test_shards_come_in_the_order_in_which_the_stream_needs_them(
    shard_sizes: list[int], window: int, position: int
) -> None:
    order = Order(sizes(*shard_sizes), 5, window)
    now, after = order.shards_from(position)
    assert sorted(now + after) == list(range(len(shard_sizes)))
    left = order.num_samples - position % order.num_samples
    shard_of = np.repeat(np.arange(len(shard_sizes)), shard_sizes)
    for start, length, found in ((position, left, now), (position + left, order.num_samples, after)):
        first_needs = list(dict.fromkeys(shard_of[order[start : start + length][0]].tolist()))
        if found is now:
            assert set(first_needs) <= set(now) and len(now) < len(set(first_needs)) + window
        places = [found.index(shard) for shard in first_needs if shard in found]
        # inside a window samples are mixed, and so is who is needed first
        assert all(later > earlier - window for earlier, later in pairwise(places))


@pytest.mark.parametrize(
    ("batch", "world_size", "start"), [(8, 1, 0), (16, 2, 16), (12, 3, 24), (6, 1, 30), (64, 8, 0)]
)
@pytest.mark.parametrize("shard_sizes", [[5, 9, 1, 12, 3], [3], [40, 40]], ids=str)
def test_partners_depend_on_no_batch_rank_or_start(
    shard_sizes: list[int], batch: int, world_size: int, start: int
) -> None:
    order, stop = Order(sizes(*shard_sizes), 4, 2), start + 5 * batch
    samples, _ = order[0 : stop + GROUP]
    found = []
    for rank in range(world_size):
        ours = Order(sizes(*shard_sizes), 4, 2)
        fields = {"start": start, "stop": stop, "batch": batch, "rank": rank, "world_size": world_size}
        each = plan(ours, **fields, sides=SIDES, images_per_side=80, mix_until=stop)  # type: ignore[arg-type]
        found.append([planned.partners for planned in each])
    together = np.concatenate([rows for step in zip(*found, strict=True) for rows in step])  # type: ignore[arg-type]
    for position, row in zip(range(start, stop), together.tolist(), strict=True):
        begin = position // GROUP * GROUP
        group = samples[begin : begin + GROUP].tolist()
        del group[position - begin]
        assert sorted(row) == sorted(group)


def test_images_share_canvases_until_the_stated_position() -> None:
    fields = {"batch": 8, "rank": 0, "world_size": 1, "sides": SIDES, "images_per_side": 80}
    found = list(plan(Order(sizes(40), 4, 2), start=0, stop=160, mix_until=100, **fields))  # type: ignore[arg-type]
    assert [each.partners is not None for each in found] == [position < 100 for position in range(0, 160, 8)]
    assert len(found[0].reads) == 8 + 8 * (GROUP - 1) and len(found[-1].reads) == 8
    assert set(found[0].reads.tolist()) == set(found[0].samples.tolist())  # whole groups: nothing else is read
