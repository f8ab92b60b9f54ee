"""The modules that networks here are made of.

B images  C channels  H W rows and columns of a feature map
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class SpaceToDepth(nn.Module):
    """[B, C, H, W] -> [B, s*s*C, H/s, W/s], s the block size. Channel (dy*s + dx)*C + c: pixel (dy, dx) of a block."""

    def __init__(self, block_size: int) -> None:
        super().__init__()
        self.block_size = block_size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.block_size
        return torch.cat([x[:, :, dy::s, dx::s] for dy in range(s) for dx in range(s)], dim=1)


class Reorg(nn.Module):
    """darknet's [reorg] with stride 2 (src/blas.c, reorg_cpu), quirk included: it mixes pixels of far-off blocks.

    [B, C, H, W] -> [B, 4C, H/2, W/2]. No permutation of channels turns it into SpaceToDepth.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = x.shape
        blocks = x.contiguous().view(batch, channels // 4, height, 2, width, 2)
        return blocks.permute(0, 3, 5, 1, 2, 4).reshape(batch, channels * 4, height // 2, width // 2)


class ConvBlock(nn.Sequential):
    """Convolution without bias, batch norm, leaky ReLU of slope .1."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, bn_momentum: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(channels_out, eps=1e-5, momentum=bn_momentum)
        self.act = nn.LeakyReLU(0.1, inplace=True)


class Output(nn.Conv2d):
    """The last convolution. Under autocast it predicts in float32, though it trains in the lower precision.

    bf16 has 8 bits: 1,436 detections had 296 distinct scores, and the order of equal ones moved a small set's mAP by
    1.5 points.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training or not torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class Stack(nn.Sequential):
    """Layers one after the other.

    With `recompute` training keeps what lies between stages, which end with pools, and computes the inner of a stage
    again in backward: the same numbers, gradients and statistics.
    """

    recompute = False

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not (self.recompute and self.training):
            for layer in self:
                x = layer(x)
            return x
        stage = nn.Sequential()
        for number, layer in enumerate(self, 1):
            stage.append(layer)
            if number == len(self) or not isinstance(layer, ConvBlock):
                x = _checkpointed(stage, x)
                stage = nn.Sequential()
        return x


def _checkpointed(stage: nn.Sequential, x: torch.Tensor) -> torch.Tensor:
    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _without_statistics(stage)

    # the compiler computes again by itself, without a second pass that could change anything
    more: dict[str, Any] = {} if torch.compiler.is_compiling() else {"context_fn": contexts}
    y: torch.Tensor = checkpoint(stage, x, use_reentrant=False, preserve_rng_state=False, **more)
    return y


@contextmanager
def _without_statistics(stage: nn.Sequential) -> Iterator[None]:
    """Batch norm as in training, but its running statistics stay: they keep all of the old and take 0 of the new."""
    norms = [module for module in stage.modules() if isinstance(module, nn.BatchNorm2d)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
