"""Averaged weights: an exponential moving average of a network's parameters and batch-norm statistics over training.

The weight of an image decays by a factor of e over `images`, the EMA horizon. Until that many have been seen, the
average is over all so far, so that random first weights leave no trace: a step's weight is a function of images seen.
"""

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch

from train.model import YOLOv2


class Ema:
    """`ema.model` is the averaged network, in evaluation mode."""

    def __init__(self, model: YOLOv2, images: int) -> None:
        """images: the horizon. Costs the memory of the weights, and one pass over them for each update."""
        self.images, self.source = images, model
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self._averages, self._values = _tensors(self.model), _tensors(model)

    @torch.no_grad()
    def update(self, images_seen: int, batch: int, applied: torch.Tensor) -> None:
        """Follows a step of `batch` images. applied: a flag on the device, whether it changed the weights."""
        weight = (1 - math.exp(-batch / min(self.images, images_seen))) * applied
        for average, value in zip(self._averages, self._values, strict=True):
            average.lerp_(value, weight)

    def state_dict(self) -> dict[str, Any]:
        return self.model.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.model.load_state_dict(state)


def _tensors(model: YOLOv2) -> list[torch.Tensor]:
    """Parameters and statistics, in a fixed order; integer counters are not averaged."""
    return [tensor.detach() for tensor in model.state_dict().values() if tensor.is_floating_point()]
