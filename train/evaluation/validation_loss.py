"""The loss of a set that is not trained on, and darknet's statistics there: the same numbers as those of training."""

from collections.abc import Iterator, Sequence

import torch

from train.loss import Losses, YOLOv2Loss


class LossSums:
    """Sums over images, of one process. In float64: what processes share the images changes the last bits alone."""

    def __init__(self) -> None:
        self.images, self.sums = 0, torch.zeros(len(Losses._fields), dtype=torch.float64)

    @torch.no_grad()
    def add(self, loss: YOLOv2Loss, raw_BCHW: torch.Tensor, truths_BT5: torch.Tensor) -> None:
        """Waits for the device."""
        means = torch.stack(list(loss.terms(raw_BCHW, truths_BT5)))
        self.images += len(raw_BCHW)
        self.sums += means.cpu().double() * len(raw_BCHW)


def mean_losses(shares: Sequence[LossSums]) -> Losses:
    """Means over all images of all processes."""
    sums = torch.stack([share.sums for share in shares]).sum(0)
    return Losses(*(sums / sum(share.images for share in shares)).unbind())


def named(losses: Losses) -> Iterator[tuple[str, float]]:
    yield "val/loss", float(losses.total)
    for name, value in losses.as_darknet.items():
        yield f"val/{name}", float(value)
