"""Slots: the same memory in every process, each array in a place of its own."""

import multiprocessing
import os

import numpy as np
import pytest

from data.images.on_device import LAYOUT
from data.loading.filling.slots import Slots


def fill(slots: Slots, number: int) -> None:
    for value, array in enumerate(slots[number], start=10 * number):
        array[...] = value


def test_arrays_do_not_overlap() -> None:
    slots = Slots(3, batch=5, truth_slots=7, pixel_bytes=1001)
    for number in range(3):
        fill(slots, number)
    for number in range(3):
        slot = slots[number]
        assert [np.unique(array).tolist() for array in slot] == [[10 * number + i] for i in range(4)]
        assert [array.shape for array in slot] == [(1001,), (5, 7, 5), (5, 3), (5, LAYOUT)]


@pytest.mark.parametrize("memfd", [True, False])
def test_another_process_writes_into_the_same_memory(memfd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not memfd:
        monkeypatch.delattr(os, "memfd_create")
    slots = Slots(2, batch=2, truth_slots=3, pixel_bytes=64)
    process = multiprocessing.get_context("forkserver").Process(target=fill, args=(slots, 1))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert (slots[1].truths == 11).all() and (slots[0].truths == 0).all()
