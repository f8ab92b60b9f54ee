"""Random numbers by counter: each is a pure function of what it is for, and nobody holds a state."""

import numpy as np
from numpy.typing import NDArray


def random_bits(count: int, *key: int) -> NDArray[np.uint64]:
    """`count` random 64-bit words, a pure function of up to three key numbers (Philox: raw words never change)."""
    seed, major, minor = (*key, 0, 0)[:3]
    return np.random.Philox(key=[seed, major], counter=[0, 0, minor, 0]).random_raw(count)
