"""A batch outlives its slot."""

import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import data.loading.handover.to_device
import data.loading.loader
from data.images.on_device import LAYOUT
from data.loading.batch import Batch
from data.loading.config import DataConfig
from data.loading.filling.order import BatchPlan
from data.loading.filling.reader import Filled
from data.loading.filling.slots import Slots
from data.loading.handover.to_device import Transfer
from data.loading.loader import Loader
from data.shards.index import ShardIndex


def plan_of(augmented: bool = True) -> BatchPlan:
    return BatchPlan(np.array([4, 1]), np.zeros(2, np.int64), 32, augmented)


def test_a_batch_is_a_copy_of_what_is_filled() -> None:
    slots = Slots(2, batch=3, truth_slots=2, pixel_bytes=3 * 32 * 32 * 3)
    slots[1].pixels[:] = 7
    transfer = Transfer(torch.device("cpu"), slots, np.dtype(np.uint8), packed=False, coloured=True)
    batch = transfer(1, plan_of(), Filled(2 * 32 * 32 * 3, ["a fault"]))
    slots[1].pixels[:] = 8
    assert batch.images.shape == (2, 32, 32, 3) and (batch.images == 7).all()
    assert batch.truths.shape == (2, 2, 5) and batch.samples.tolist() == [4, 1] and batch.side == 32
    assert batch.faults == ["a fault"] and batch.colours is None and batch.layout is None


def test_what_is_left_to_the_device_comes_along() -> None:
    slots = Slots(1, batch=2, truth_slots=2, pixel_bytes=1000)
    slots[0].colours[:] = 0.5
    transfer = Transfer(torch.device("cpu"), slots, np.dtype(np.uint8), packed=True, coloured=False)
    batch = transfer(0, plan_of(), Filled(600, []))
    assert batch.images.shape == (600,) and batch.layout is not None and batch.layout.shape == (2, LAYOUT)
    assert batch.colours is not None and (batch.colours == 0.5).all()
    assert transfer(0, plan_of(augmented=False), Filled(600, [])).colours is None


# -------------------------------------------------------------------------------------------------- the order of things


class Late(Transfer):
    """A device that copies as late as it may: when something waits for it."""

    def _copied(self, *arrays: "np.ndarray[Any, Any]") -> list[torch.Tensor]:
        copies = [torch.full(array.shape, 99, dtype=torch.from_numpy(array).dtype) for array in arrays]

        def copy() -> None:
            for there, array in zip(copies, arrays, strict=True):
                there.copy_(torch.from_numpy(array))

        self._under_way.append(SimpleNamespace(synchronize=copy))
        return copies

    def close(self) -> None:
        for event in self._under_way:
            event.synchronize()


def batches(index: ShardIndex, workers: int, device: str, geometry: str = "workers") -> Iterator[Batch]:
    """Forty; the colours are the workers' on every device."""
    config = DataConfig(train="", val="", batch=8, sides=[32, 64], workers=workers, geometry=geometry, colour="workers")
    loader = Loader(index, config, seed=3, rank=0, world_size=1, device=torch.device(device))
    return loader.batches(0, 40 * 8)


def assert_equal(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected) == 40
    for one, other in zip(found, expected, strict=True):
        for name in ("images", "truths", "colours", "layout"):
            left, right = getattr(one, name), getattr(other, name)
            assert (left is None and right is None) or torch.equal(left.cpu(), right), name


@pytest.mark.filterwarnings("ignore:This DataLoader will create . worker processes")
@pytest.mark.parametrize("geometry", ["workers", "device"])
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_no_slot_is_written_to_before_its_copy_is_over(
    index: ShardIndex, workers: int, geometry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = list(batches(index, 0, "cpu", geometry))
    monkeypatch.setattr(data.loading.loader, "Transfer", Late)
    found = []
    for batch in batches(index, workers, "cpu", geometry):
        found.append(batch)
        time.sleep(0.01 if workers else 0)  # workers do all that they may
    assert_equal(found, expected)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore:This DataLoader will create . worker processes")
@pytest.mark.parametrize("geometry", ["workers", "device"])
@pytest.mark.parametrize("slow", ["copies", "steps"])
def test_neither_a_slow_copy_nor_a_slow_step_sees_another_batch(
    index: ShardIndex, slow: str, geometry: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies that end late: steps wait for them, workers too. Steps that read late: the memory is still theirs."""
    expected = list(batches(index, 0, "cpu", geometry))
    copied = Transfer._copied

    def late(self: Transfer, *arrays: "np.ndarray[Any, Any]") -> list[torch.Tensor]:
        if slow == "copies":
            with torch.cuda.stream(self._stream):
                torch.cuda._sleep(50_000_000)  # cycles: some 30 ms
        return copied(self, *arrays)

    monkeypatch.setattr(Transfer, "_copied", late)
    found = []
    for batch in batches(index, 2, "cuda", geometry):
        if slow == "steps":
            torch.cuda._sleep(50_000_000)
        tensors = {name: getattr(batch, name) for name in ("images", "truths", "colours", "layout")}
        found.append(batch._replace(**{name: each.clone() for name, each in tensors.items() if each is not None}))
        del batch, tensors
    assert_equal(found, expected)


@pytest.mark.gpu
def test_a_copy_goes_beside_the_process() -> None:
    """From memory that is not page-locked it would be over when the call is, however long it takes."""
    slots = Slots(2, batch=2, truth_slots=2, pixel_bytes=2 * 416 * 416 * 3)
    slots[0].pixels[:] = 7
    transfer = Transfer(torch.device("cuda", 0), slots, np.dtype(np.uint8), packed=False, coloured=True)
    with torch.cuda.stream(transfer._stream):
        torch.cuda._sleep(1_000_000_000)
    batch = transfer(0, plan_of()._replace(side=416), Filled(2 * 416 * 416 * 3, []))
    assert not transfer._under_way[-1].query()
    assert (batch.images == 7).all()
    transfer.close()


def test_memory_that_the_driver_does_not_lock_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        data.loading.handover.to_device, "_runtime", lambda: SimpleNamespace(cudaHostRegister=lambda *_: 2)
    )
    slots = Slots(2, batch=2, truth_slots=2, pixel_bytes=1000)
    message = r"expected 0\.00 GB of page-locked memory for batches, the driver returned 2; lower data\.batch or"
    with pytest.raises(ValueError, match=message):
        Transfer(torch.device("cuda"), slots, np.dtype(np.uint8), packed=False, coloured=True)
