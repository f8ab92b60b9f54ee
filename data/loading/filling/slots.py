"""Batches in memory that processes share: workers write, the training process reads, only a number is sent.

Passing a batch through a queue costs a fresh shared segment each time, whose page faults cost more than half as much as
decoding. Slots are made once and stay. Memory never written to takes no space, unless it is locked for a device.
"""

import mmap
import os
import tempfile
from multiprocessing import reduction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.images.on_device import LAYOUT
from data.shards.index import ShardIndex


class Slot(NamedTuple):
    """Room for one batch of up to B images; arrays over shared memory."""

    pixels: NDArray[np.uint8]  # bytes of canvases, or of decoded images one after the other
    truths: NDArray[np.float32]  # [B, T, 5]
    colours: NDArray[np.float32]  # [B, 3]
    layout: NDArray[np.int64]  # [B, LAYOUT]


class Slots:
    """`slots[number]` is a `Slot`. Passed to another process at its start, it is the same memory there."""

    def __init__(self, count: int, batch: int, truth_slots: int, pixel_bytes: int) -> None:
        self.count = count
        self._shapes = [(pixel_bytes,), (batch, truth_slots, 5), (batch, 3), (batch, LAYOUT)]
        self._types = [np.dtype(t) for t in (np.uint8, np.float32, np.float32, np.int64)]
        sizes = [int(np.prod(shape)) * t.itemsize for shape, t in zip(self._shapes, self._types, strict=True)]
        pages = [-(-size // mmap.PAGESIZE) * mmap.PAGESIZE for size in sizes]
        self._offsets = np.cumsum([0, *pages]).tolist()
        descriptor = os.memfd_create("batches") if hasattr(os, "memfd_create") else _unnamed_file()
        os.ftruncate(descriptor, count * self._offsets[-1])
        self._map(descriptor)

    def _map(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, self.count * self._offsets[-1])

    @property
    def memory(self) -> NDArray[np.uint8]:
        """The memory of all slots, to register with a device."""
        return np.frombuffer(self._memory, np.uint8)

    def __getitem__(self, number: int) -> Slot:
        start = number * self._offsets[-1]
        arrays = [
            np.frombuffer(self._memory, kind, int(np.prod(shape)), start + offset).reshape(shape)
            for shape, kind, offset in zip(self._shapes, self._types, self._offsets[:-1], strict=True)
        ]
        return Slot(*arrays)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__ | {"_descriptor": reduction.DupFd(self._descriptor)}
        del state["_memory"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map(state["_descriptor"].detach())

    def __del__(self) -> None:
        if isinstance(getattr(self, "_descriptor", None), int):
            os.close(self._descriptor)


def most_pixels(index: ShardIndex, batch: int) -> int:
    """Pixels in a batch of the largest images, each as often as epochs meet in a batch."""
    pixels = np.sort(index.arrays["widths"].astype(np.int64) * index.arrays["heights"])[-batch:]
    return int(np.sort(np.tile(pixels, batch // index.num_samples + 2))[-batch:].sum())


def _unnamed_file() -> int:
    """A replacement for memory descriptors, which macOS lacks."""
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
