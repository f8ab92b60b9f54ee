"""Counter-based random numbers: each is a pure function of its purpose, without any state.

Philox has a key of two words and a counter of four: key (seed, epoch), counter (0, 0, purpose, sample). The first two
words of the counter advance as numbers are drawn. Who draws, when, and what else is drawn, makes no difference.
"""

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Purpose(IntEnum):
    """Every use of random numbers, each with its own draws: a new one shifts none of the others.

    Numbers are permanent: changing one changes what a seed means. The third column is what takes the place of
    (seed, epoch, sample).
    """

    SHARD_ORDER = 0  #         seed, epoch           order of the shards in an epoch
    SAMPLE_ORDER = 1  #        seed, epoch           order inside a window of shards
    SIDE = 2  #                seed, block of images input size, redrawn every few batches
    PLACEMENT = 3  #           seed, epoch, sample   jitter, scale, place and mirroring of an image
    COLOUR = 4  #              seed, epoch, sample   hue, saturation, exposure
    OBJECT_ORDER = 5  #        seed, epoch, sample   which of two objects wins a cell and anchor, or the last slot
    ANCHORS = 6  #             seed, start           seeds of k-means
    CONTACT_SHEET = 7  #       seed                  which images are shown
    MOSAIC = 8  #              seed, epoch, sample   whether, with whom, and where each goes
    MIXUP = 9  #               seed, epoch, sample   whether, with whom
    MIXUP_PLACEMENT = 10  #    seed, epoch, sample   of the image that is blended over the canvas

    # Before the first epoch, and as old as number 0: the bytes of shards and pictures depend on it.
    WRITING = 0  #             0                     shuffle of a set when it is written; images of --count
    PICTURE = 0  #             seed, picture         shapes of the demo


def random_bits(count: int, purpose: Purpose, seed: int, epoch: int = 0, *, first: int = 0) -> NDArray[np.uint64]:
    """`count` random 64-bit words from word `first` on; Philox's raw words are the same in all versions of numpy.

    Words come in blocks of four, one block for each value of the counter: those before `first` cost nothing.
    """
    block, inside = divmod(first, 4)
    philox = np.random.Philox(key=[seed, epoch], counter=[block, 0, purpose, 0])
    return philox.random_raw(inside + count)[inside:]


def generator(purpose: Purpose, seed: int, epoch: int = 0, sample: int = 0) -> np.random.Generator:
    """A generator for distributions: its draws are the same within one version of numpy."""
    return np.random.Generator(_philox(purpose, seed, epoch, sample))


class Generators:
    """`generators(purpose, epoch, sample)` is `generator(...)` for one seed at a quarter of its cost.

    There is one generator, moved to each place in turn: it is valid until the next call.
    """

    def __init__(self, seed: int) -> None:
        self._philox = _philox(Purpose(0), seed, 0, 0)
        self._rng = np.random.Generator(self._philox)
        self._start: Any = self._philox.state
        self._key, self._counter = self._start["state"]["key"], self._start["state"]["counter"]

    def __call__(self, purpose: Purpose, epoch: int, sample: int) -> np.random.Generator:
        self._key[1] = epoch
        self._counter[2] = purpose
        self._counter[3] = sample
        self._philox.state = self._start
        return self._rng

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return Generators, (int(self._key[0]),)


def _philox(purpose: Purpose, seed: int, epoch: int, sample: int) -> np.random.Philox:
    return np.random.Philox(key=[seed, epoch], counter=[0, 0, purpose, sample])
