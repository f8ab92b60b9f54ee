"""The order of samples in a run: pure functions of integers, no files, no processes.

A run reads one endless stream of samples: the order of epoch 0, then of epoch 1, and so on. Global batch k is positions
k*B .. (k+1)*B of that stream, rank r takes the r-th equal slice of it. So

- every sample comes exactly once in an epoch; the last batch of an epoch is filled with the first samples of the next
  one, so nothing is dropped, nothing is repeated, and all ranks always get equal batches;
- the stream depends on (seed, shard sizes, window) alone: not on ranks, workers or batch size;
- the position of a run is one number, the images seen, and any position is reached at the same cost.

The order of an epoch: shards are shuffled, then samples are shuffled inside windows of `window` consecutive shards.
Reading stays within a few open shards, and the set itself was shuffled once when it was sharded.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.randomness import Purpose, random_bits

Ids = NDArray[np.int64]

GROUP = 8  # consecutive samples of the stream that may share canvases
KEPT_WINDOWS = 4  # sorted: a batch and the samples that may share its canvases lie in one or two


class BatchPlan(NamedTuple):
    """One local batch, before anything is read."""

    samples: Ids  # [B] sample numbers in the shard index
    epochs: Ids  # [B] in whose order each sample comes, on which its random draws depend
    side: int  # px: of the square canvas, or its width
    augmented: bool = True  # False for evaluation: the whole image in its own colours
    partners: Ids | None = None  # [B, GROUP - 1] samples that may share its canvas; None: none
    height: int | None = None  # px of the canvas, in evaluation; None: as wide

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the canvas."""
        return self.side, self.height or self.side

    @property
    def reads(self) -> Ids:
        """Every sample that may be read for this batch."""
        return self.samples if self.partners is None else np.concatenate([self.samples, self.partners.reshape(-1)])


def shard_order(num_shards: int, seed: int, epoch: int) -> Ids:
    return np.argsort(random_bits(num_shards, Purpose.SHARD_ORDER, seed, epoch), kind="stable")


def epoch_order(shard_sizes: Ids, seed: int, epoch: int, window: int) -> Ids:
    """[N] all sample numbers (shard by shard, 0..N-1) in the order of this epoch. O(N log N)."""
    return Order(shard_sizes, seed, window)[epoch * int(shard_sizes.sum()) : (epoch + 1) * int(shard_sizes.sum())][0]


def batch_side(images_seen: int, seed: int, sides: tuple[int, ...], images_per_side: int) -> int:
    """Side in px of the batch that starts at this position: redrawn uniformly every `images_per_side` images."""
    block = images_seen // images_per_side
    return sides[int(random_bits(1, Purpose.SIDE, seed, block)[0] % len(sides))]


class _Epoch(NamedTuple):
    """The S shards of an epoch, in order."""

    shards: Ids  # [S]
    starts: Ids  # [S + 1] where in the epoch the samples of each begin


class Order:
    """The endless stream, by position. A window is sorted when it is reached, from its own random words alone.

    Holds the shard orders of two epochs and a few windows: its memory grows with the number of shards, not of samples.
    """

    def __init__(self, shard_sizes: Ids, seed: int, window: int) -> None:
        assert len(shard_sizes) and shard_sizes.min() > 0
        self.shard_sizes, self.seed, self.window = shard_sizes, seed, window
        self.num_samples = int(shard_sizes.sum())
        self._first_samples = np.cumsum(shard_sizes) - shard_sizes  # [S] number of the first sample of each shard
        self._epochs: dict[int, _Epoch] = {}
        self._windows: dict[tuple[int, int], Ids] = {}

    def __getitem__(self, positions: slice) -> tuple[Ids, Ids]:
        """Sample numbers and epochs at positions start..stop of the stream."""
        parts, position = [np.empty(0, np.int64)], positions.start
        while position < positions.stop:
            epoch, place = divmod(position, self.num_samples)
            parts.append(self._from(epoch, place)[: positions.stop - position])
            position += len(parts[-1])
        epochs = np.arange(positions.start, positions.stop, dtype=np.int64) // self.num_samples
        return np.concatenate(parts), epochs

    def shards_from(self, position: int) -> tuple[list[int], list[int]]:
        """Shards in the order in which the stream needs them: those for the rest of this epoch, then all others."""
        epoch, seen = divmod(position, self.num_samples)
        now = (
            self._epoch(epoch).shards[self._window_at(epoch, seen) * self.window :].tolist()
        )  # a window is needed whole
        after = shard_order(len(self.shard_sizes), self.seed, epoch + 1)
        return now, after[~np.isin(after, now)].tolist()

    def _from(self, epoch: int, place: int) -> Ids:
        """The samples from this place of the epoch to the end of its window."""
        number = self._window_at(epoch, place)
        if (epoch, number) not in self._windows:
            while len(self._windows) >= KEPT_WINDOWS:
                del self._windows[next(iter(self._windows))]
            self._windows[epoch, number] = self._sorted_window(epoch, number)
        begins = int(self._epoch(epoch).starts[number * self.window])
        return self._windows[epoch, number][place - begins :]

    def _window_at(self, epoch: int, place: int) -> int:
        return (int(np.searchsorted(self._epoch(epoch).starts, place, side="right")) - 1) // self.window

    def _sorted_window(self, epoch: int, number: int) -> Ids:
        mine, starts = slice(number * self.window, (number + 1) * self.window), self._epoch(epoch).starts
        shards = self._epoch(epoch).shards[mine]
        first, sizes = int(starts[mine.start]), self.shard_sizes[shards]
        count = int(sizes.sum())
        # sample numbers, shard after shard in the shuffled order of shards
        samples = np.arange(count) + np.repeat(self._first_samples[shards] - (np.cumsum(sizes) - sizes), sizes)
        words = random_bits(count, Purpose.SAMPLE_ORDER, self.seed, epoch, first=first)
        ordered: Ids = samples[np.argsort(words, kind="stable")]
        return ordered

    def _epoch(self, epoch: int) -> _Epoch:
        if epoch not in self._epochs:
            shards = shard_order(len(self.shard_sizes), self.seed, epoch)
            starts = np.concatenate([[0], np.cumsum(self.shard_sizes[shards])])
            self._epochs = {e: order for e, order in self._epochs.items() if e == epoch - 1}
            self._epochs[epoch] = _Epoch(shards, starts)
        return self._epochs[epoch]


def partners(order: Order, first: int, count: int) -> Ids:
    """[count, GROUP - 1] the other samples of the group, for each position from `first` on.

    Groups are absolute, so partners do not depend on batch size, rank or start. Most batches are whole groups: then all
    partners are in the batch too, every image is read and decoded once, and its shards are open.
    """
    positions = np.arange(first, first + count, dtype=np.int64)
    begins = positions // GROUP * GROUP
    samples, _ = order[int(begins[0]) : int(begins[-1]) + GROUP]
    others = ((positions - begins)[:, None] + np.arange(1, GROUP)) % GROUP
    found: Ids = samples[begins[:, None] + others - begins[0]]
    return found


def plan(
    order: Order,
    *,
    start: int,
    stop: int,
    batch: int,
    rank: int,
    world_size: int,
    sides: tuple[int, ...],
    images_per_side: int,
    mix_until: int = 0,
) -> Iterator[BatchPlan]:
    """The batches of one rank from position `start` until `stop` images are seen (the last one may overshoot).

    mix_until: position from which images no longer share a canvas.
    """
    assert batch % world_size == 0
    local = batch // world_size
    for position in range(start, stop, batch):
        first = position + rank * local
        samples, epochs = order[first : first + local]
        side = batch_side(position, order.seed, sides, images_per_side)
        mixed = partners(order, first, local) if position < mix_until else None
        yield BatchPlan(samples, epochs, side, partners=mixed)
