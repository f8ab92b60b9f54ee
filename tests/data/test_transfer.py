"""A batch outlives its slot."""

import numpy as np
import pytest
import torch

from data.order import BatchPlan
from data.reader import NOT_AUGMENTED, Filled
from data.slots import Slots
from data.transfer import Transfer


def plan_of(epoch: int) -> BatchPlan:
    return BatchPlan(np.array([4, 1]), np.full(2, epoch), 32)


def test_a_batch_is_a_copy_of_what_is_filled() -> None:
    slots = Slots(2, batch=3, truth_slots=2, pixel_bytes=3 * 32 * 32 * 3)
    slots[1].pixels[:] = 7
    transfer = Transfer(torch.device("cpu"), slots, packed=False, coloured=True)
    batch = transfer(1, plan_of(0), Filled(2 * 32 * 32 * 3, ["a fault"]))
    slots[1].pixels[:] = 8
    assert batch.images.shape == (2, 32, 32, 3) and (batch.images == 7).all()
    assert batch.truths.shape == (2, 2, 5) and batch.samples.tolist() == [4, 1] and batch.side == 32
    assert batch.faults == ["a fault"] and batch.colours is None and batch.layout is None


def test_what_is_left_to_the_device_comes_along() -> None:
    slots = Slots(1, batch=2, truth_slots=2, pixel_bytes=1000)
    slots[0].colours[:] = 0.5
    transfer = Transfer(torch.device("cpu"), slots, packed=True, coloured=False)
    batch = transfer(0, plan_of(0), Filled(600, []))
    assert batch.images.shape == (600,) and batch.layout is not None and batch.layout.shape == (2, 12)
    assert batch.colours is not None and (batch.colours == 0.5).all()
    assert transfer(0, plan_of(NOT_AUGMENTED), Filled(600, [])).colours is None


@pytest.mark.gpu
def test_copies_to_the_device_wait_for_nothing_and_are_whole() -> None:
    device = torch.device("cuda", 0)
    slots = Slots(4, batch=64, truth_slots=50, pixel_bytes=64 * 416 * 416 * 3)
    transfer = Transfer(device, slots, packed=False, coloured=True)
    plan = BatchPlan(np.arange(64), np.zeros(64, np.int64), 416)
    batches = []
    for number in range(12):
        slots[number % 4].pixels[:] = number
        batches.append(transfer(number % 4, plan, Filled(64 * 416 * 416 * 3, [])))
        transfer.wait_for_all_but_the_last()
    assert all((batch.images == number).all() for number, batch in enumerate(batches))
    transfer.close()
