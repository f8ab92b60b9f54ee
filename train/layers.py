"""The modules that the networks are made of.

B images  C channels  H W rows and columns of a feature map
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import nn
from torch.nn import functional
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
    """darknet's [reorg] (src/blas.c, reorg_cpu), including its quirk: it mixes pixels of distant blocks.

    [B, C, H, W] -> [B, s*s*C, H/s, W/s], s the stride. No permutation of channels turns it into SpaceToDepth.
    """

    def __init__(self, stride: int = 2) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        s = self.stride
        batch, channels, height, width = x.shape
        blocks = x.contiguous().view(batch, channels // s**2, height, s, width, s)
        return blocks.permute(0, 3, 5, 1, 2, 4).reshape(batch, channels * s**2, height // s, width // s)


Activation = Literal["leaky", "linear", "relu", "logistic", "mish", "swish"]
ACTIVATIONS: dict[Activation, Callable[[], nn.Module]] = {
    "leaky": lambda: nn.LeakyReLU(0.1, inplace=True),
    "linear": nn.Identity,
    "relu": lambda: nn.ReLU(inplace=True),
    "logistic": nn.Sigmoid,
    "mish": nn.Mish,
    "swish": nn.SiLU,
}


class ConvBlock(nn.Sequential):
    """Convolution, optional batch norm (then without bias), activation; default: norm and leaky ReLU of slope .1."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        bn_momentum: float,
        *,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        normalized: bool = True,
        activation: Activation = "leaky",
    ) -> None:
        """padding: None keeps the size of the map."""
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, padding, groups=groups, bias=not normalized)
        if normalized:
            self.norm = nn.BatchNorm2d(channels_out, eps=1e-5, momentum=bn_momentum)
        self.act = ACTIVATIONS[activation]()


class MaxPool(nn.Module):
    """darknet's [maxpool] (src/maxpool_layer.c): `padding` rows and columns in total, the smaller half before."""

    def __init__(self, size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.size, self.stride, self.padding = size, stride, padding

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        before = self.padding // 2
        after_w, after_h = (
            max(0, (self.side(length) - 1) * self.stride + self.size - length - before)
            for length in (x.shape[3], x.shape[2])
        )
        padded = functional.pad(x, (before, after_w, before, after_h), value=-torch.inf)
        return functional.max_pool2d(padded, self.size, self.stride)

    def side(self, length: int) -> int:
        """The side of the map after the layer."""
        return (length + self.padding - self.size) // self.stride + 1


class Output(nn.Conv2d):
    """The last convolution. Under autocast it predicts in float32, though it trains in the lower precision.

    bf16 has 8 bits: 1,436 detections had 296 distinct scores, and the order of equal ones moved a small set's mAP by
    1.5 points.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training or x.is_meta or not torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class Stack(nn.Sequential):
    """Layers in sequence.

    With `recompute` training keeps only the maps between stages, which end with pools, and recomputes the inside of a
    stage in backward: the same numbers, gradients and statistics.
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

    # the compiler recomputes by itself, without a second pass that could change anything
    more: dict[str, Any] = {} if torch.compiler.is_compiling() else {"context_fn": contexts}
    y: torch.Tensor = checkpoint(stage, x, use_reentrant=False, preserve_rng_state=False, **more)
    return y


@contextmanager
def _without_statistics(stage: nn.Sequential) -> Iterator[None]:
    """Batch norm as in training, but with momentum 0: its running statistics do not change."""
    norms = [module for module in stage.modules() if isinstance(module, nn.BatchNorm2d)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, kept, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count
