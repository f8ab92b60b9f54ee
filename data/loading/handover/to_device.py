"""Moves a batch from its slot to the device: on the CPU a copy, on CUDA one from page-locked memory beside the step."""

from collections import deque
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from data.loading.batch import Batch
from data.loading.filling.order import BatchPlan
from data.loading.filling.reader import Filled
from data.loading.filling.slots import Slots


class Transfer:
    """Call it with what a worker filled; the slot may be written to again once its copy is done."""

    def __init__(
        self, device: torch.device, slots: Slots, level: "np.dtype[np.generic]", *, packed: bool, coloured: bool
    ) -> None:
        """level: of the pixels. packed: slots hold decoded images, not canvases. coloured: the workers have changed
        the colours."""
        self.device, self.slots, self.level, self.packed, self.coloured = device, slots, level, packed, coloured
        self._under_way: deque[torch.cuda.Event] = deque()
        if device.type == "cuda":
            memory = slots.memory
            status = _runtime().cudaHostRegister(memory.ctypes.data, memory.size, 0)
            if int(status) != 0:
                raise ValueError(
                    f"expected {memory.size / 1e9:.2f} GB of page-locked memory for batches, the driver returned "
                    f"{status}; lower data.batch or data.workers, or leave geometry to the workers"
                )
            self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, number: int, plan: BatchPlan, filled: Filled) -> Batch:
        slot, rows, (width, height) = self.slots[number], len(plan.samples), plan.size_px
        pixels = slot.pixels[: filled.num_bytes].view(self.level)
        images, truths, colours, layout = self._copied(
            pixels, slot.truths[:rows], slot.colours[:rows], slot.layout[:rows]
        )
        left_to_device = plan.augmented and not self.coloured
        return Batch(
            images=images if self.packed else images.view(rows, height, width, 3),
            truths=truths,
            samples=torch.from_numpy(plan.samples),
            faults=filled.faults,
            side=plan.side,
            colours=colours if left_to_device else None,
            layout=layout if self.packed else None,
        )

    def wait_for_all_but_the_last(self) -> None:
        """Waits for all copies but the newest: requesting a batch lets workers write into their slots."""
        while len(self._under_way) > 1:
            self._under_way.popleft().synchronize()

    def close(self) -> None:
        if self.device.type == "cuda":
            self._stream.synchronize()
            _runtime().cudaHostUnregister(self.slots.memory.ctypes.data)

    def _copied(self, *arrays: "NDArray[np.generic]") -> list[torch.Tensor]:
        if self.device.type == "cpu":
            return [torch.from_numpy(array.copy()) for array in arrays]
        tensors = [torch.from_numpy(array) for array in arrays]
        step = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self._stream):
            copies = [tensor.to(self.device, non_blocking=True) for tensor in tensors]
        self._under_way.append(self._stream.record_event())
        step.wait_stream(self._stream)  # the reader of the copies runs after them
        for copy in copies:
            copy.record_stream(step)  # later copies may reuse this memory only after the step has read it
        return copies


def _runtime() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]
