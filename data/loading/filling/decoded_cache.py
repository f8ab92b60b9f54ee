"""Decoded pixels in a file that all processes of a machine map: a set that fits in memory is decoded only once.

The user chooses the folder (best in /dev/shm); the file takes only the space of what has been stored. It is valid until
the machine restarts: its name holds the digest of the set and the identity of this boot.
"""

import os
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.files import private_folder
from data.shards.index import ShardIndex

FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class DecodedCache:
    """Images by sample number. Two processes that store the same sample write the same bytes.

    Images are written by system calls and read through the mapping: if memory is full, a call fails and the cache takes
    no more images, whereas a store through the mapping would kill the process.
    """

    def __init__(self, index: ShardIndex, folder: Path) -> None:
        self.index = index
        sizes = index.arrays["widths"].astype(np.int64) * index.arrays["heights"] * 3
        self._starts = np.concatenate([[0], np.cumsum(sizes)])
        private_folder(folder)  # another user's pixels might not be those of the set
        stem = _stem(index, folder)
        self._is_full = False
        self._file = _opened(stem.with_suffix(".pixels"), int(self._starts[-1]))
        self._pixels = _mapped(self._file, int(self._starts[-1]))
        self._stored: NDArray[np.uint8] = np.zeros(index.num_samples, np.uint8)
        stored = _opened(stem.with_suffix(".stored"), index.num_samples)
        try:
            os.posix_fallocate(stored, 0, index.num_samples)  # a page that the disk lacks would kill the process
            self._stored = _mapped(stored, index.num_samples)
        except OSError as error:
            self._full(error)
        os.close(stored)

    def get(self, sample: int) -> NDArray[np.uint8] | None:
        """[H, W, 3], read-only."""
        return self._place(sample) if self._stored[sample] else None

    def put(self, sample: int, image: NDArray[np.uint8]) -> None:
        """Stores a decoded image, unless the cache is full."""
        if self._is_full or self._place(sample).shape != image.shape:
            return
        try:
            data, start = memoryview(image.tobytes()), int(self._starts[sample])
            while data:
                written = os.pwrite(self._file, data, start)
                data, start = data[written:], start + written
        except OSError as error:
            self._full(error)
            return
        self._stored[sample] = 1  # last: from now on others may read it

    def _full(self, error: OSError) -> None:
        self._is_full = True
        print(f"data.decoded_cache takes no more images ({error}); the others are decoded each time", file=sys.stderr)

    def _place(self, sample: int) -> NDArray[np.uint8]:
        width, height = self.index.size_px(sample)
        return self._pixels[self._starts[sample] : self._starts[sample + 1]].reshape(height, width, 3)


def require_usable(index: ShardIndex, folder: Path) -> None:
    """Makes the folder and the files. ValueError or OSError if a cache could not."""
    private_folder(folder)
    for suffix in (".pixels", ".stored"):
        os.close(os.open(_stem(index, folder).with_suffix(suffix), FLAGS, 0o644))


def _stem(index: ShardIndex, folder: Path) -> Path:
    boot = BOOT_ID.read_text().strip() if BOOT_ID.exists() else "boot"
    return folder / f"decoded-{index.digest[:16]}-{boot[:8]}"


def _opened(path: Path, size: int) -> int:
    """A descriptor of the file, which keeps its content. Links are not followed."""
    descriptor = os.open(path, FLAGS, 0o644)
    os.ftruncate(descriptor, size)
    return descriptor


def _mapped(descriptor: int, size: int) -> "np.memmap[tuple[int, ...], np.dtype[np.uint8]]":
    with open(descriptor, "r+b", closefd=False) as file:
        return np.memmap(file, np.uint8, "r+", shape=(size,))
