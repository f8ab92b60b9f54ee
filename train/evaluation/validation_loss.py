"""The loss of a validation set, and darknet's statistics for it: the same numbers as in training."""

from collections.abc import Iterator, Sequence

import torch

from train.loss import Losses, YOLOv2Loss


class LossSums:
    """Sums over one process's images, in float64: how images are shared among processes changes only the last bits."""

    def __init__(self) -> None:
        self.images, self.sums = 0, torch.zeros(len(Losses._fields), dtype=torch.float64)

    @torch.no_grad()
    def add(self, loss: YOLOv2Loss, raw_BCHW: torch.Tensor, truths_BT5: torch.Tensor) -> None:
        """Adds a batch. Waits for the device."""
        means = torch.stack(list(loss.terms(raw_BCHW, truths_BT5)))
        self.images += len(raw_BCHW)
        self.sums += means.cpu().double() * len(raw_BCHW)


def mean_of_shares(shares: Sequence[LossSums]) -> Losses:
    """Means over the images of all processes. shares: one of each."""
    sums = torch.stack([share.sums for share in shares]).sum(0)
    return Losses(*(sums / sum(share.images for share in shares)).unbind())


def validation_scalars(losses: Losses) -> Iterator[tuple[str, float]]:
    """Name and value of the loss and of darknet's statistics."""
    yield "val/loss", float(losses.total)
    for name, value in losses.as_darknet.items():
        yield f"val/{name}", float(value)
