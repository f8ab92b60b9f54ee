"""Decoded pixels in a file that all processes of a machine map: a set that fits in memory is decoded once.

The file lies where the user says (best in /dev/shm) and is only as large as what has been stored. It is valid until
the machine restarts: its name holds the digest of the set and the identity of this boot.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.shards.index import ShardIndex

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class DecodedCache:
    """Images by sample number. Two processes that store the same sample write the same bytes."""

    def __init__(self, index: ShardIndex, folder: Path) -> None:
        self.index = index
        sizes = index.arrays["widths"].astype(np.int64) * index.arrays["heights"] * 3
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        boot = BOOT_ID.read_text().strip() if BOOT_ID.exists() else "boot"
        folder.mkdir(parents=True, exist_ok=True)
        stem = folder / f"decoded-{index.digest[:16]}-{boot[:8]}"
        self._pixels = _mapped(stem.with_suffix(".pixels"), int(self._starts[-1]))
        self._stored = _mapped(stem.with_suffix(".stored"), index.num_samples)

    def get(self, sample: int) -> NDArray[np.uint8] | None:
        """[H, W, 3], not to be written to."""
        return self._place(sample) if self._stored[sample] else None

    def put(self, sample: int, image: NDArray[np.uint8]) -> None:
        place = self._place(sample)
        if place.shape == image.shape:
            place[:] = image
            self._stored[sample] = 1  # last: from now on others read it

    def _place(self, sample: int) -> NDArray[np.uint8]:
        width, height = self.index.size_px(sample)
        return self._pixels[self._starts[sample] : self._starts[sample + 1]].reshape(height, width, 3)


def _mapped(path: Path, size: int) -> "np.memmap[tuple[int, ...], np.dtype[np.uint8]]":
    with path.open("ab") as file:  # not emptied if it is there
        file.truncate(size)
    return np.memmap(path, np.uint8, "r+", shape=(size,))
