"""The update of a step: clips the gradient, or skips it if it is not finite, without waiting for the device.

Processes decide alike, because they hold the same average of gradients. torch's fused optimizers read two tensors:
`grad_scale` divides the gradient, and if `found_inf` is set weights and moments do not change.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn


class Tally(NamedTuple):
    """Counts of steps since the last tally, and of their outcomes, on the device, equal on all processes."""

    steps: int
    clipped: torch.Tensor
    skipped: torch.Tensor
    skipped_in_a_row: torch.Tensor  #: up to now, including older ones


class Update:
    """`update()` after backward changes the weights and clears the gradient."""

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        clip_norm: float | None,
        device: torch.device,
    ) -> None:
        self.optimizer, self.scaler, self.clip_norm = optimizer, scaler, clip_norm
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.gradient_norm = torch.zeros((), device=device)
        self._one = torch.ones((), device=device)
        self._in_a_row = torch.zeros((), device=device)
        self._reset()

    def __call__(self) -> torch.Tensor:
        """Updates the weights; returns a flag on the device, whether they changed."""
        scale = self.scaler.scale(self._one)
        self.gradient_norm = total_norm(p.grad for p in self.parameters if p.grad is not None) / scale
        finite = self.gradient_norm.isfinite()
        if self.clip_norm is not None:
            divisor = (self.gradient_norm / self.clip_norm).clamp(min=1)
            self.optimizer.grad_scale = divisor  # type: ignore[attr-defined]
            self._clipped += (divisor > 1) & finite
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)  # checks for infinite values, and multiplies its scale by the divisor
            self.scaler.update()
            finite = self.scaler.scale(self._one) >= scale  # it lowers the scale after a skipped step
        else:
            self.optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
            self.optimizer.step()
            del self.optimizer.found_inf  # type: ignore[attr-defined]
            if self.clip_norm is not None:
                del self.optimizer.grad_scale  # type: ignore[attr-defined]
        self.optimizer.zero_grad(set_to_none=True)
        self._steps += 1
        self._skipped += ~finite
        self._in_a_row = (self._in_a_row + 1) * ~finite
        return finite

    def tally(self) -> Tally:
        """Counts of the steps since the last call."""
        tally = Tally(self._steps, self._clipped, self._skipped, self._in_a_row)
        self._reset()
        return tally

    def _reset(self) -> None:
        self._steps = 0
        self._clipped, self._skipped = torch.zeros_like(self._one), torch.zeros_like(self._one)


def total_norm(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """The Euclidean norm of all numbers together."""
    return nn.utils.get_total_norm(tensors)
