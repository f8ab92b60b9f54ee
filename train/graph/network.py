"""Networks built from a list of layers, as `model.graph` and darknet's cfgs describe them."""

from collections.abc import Sequence

import torch
from torch import nn

from train.graph.layer_specs import KEYS, Convolution, KeyProblem, Layer, Pool, Reordering, Route, read_layer
from train.graph.shapes import Shape, absolute, shape_after
from train.layers import ConvBlock, MaxPool, Reorg

SIDE_PX = 416  # of the input on which a description is checked


def parse_graph(lines: Sequence[str]) -> list[Layer]:
    """Parses `model.graph`, and checks its shapes. ValueError names the invalid line."""
    layers: list[Layer] = []
    shapes: list[Shape] = [(3, SIDE_PX)]
    for number, line in enumerate(lines):
        kind, *words = line.split() or [""]
        options = dict(word.partition("=")[::2] for word in words)
        try:
            if kind not in KEYS:
                raise KeyProblem(kind, f"expected one of {', '.join(KEYS)}")
            layers.append(read_layer(kind, options))
            shapes.append(shape_after(layers[-1], shapes))
        except KeyProblem as problem:
            raise ValueError(f"model.graph[{number}] {line!r}: {problem}") from None
    if shapes[-1][1] * 32 != SIDE_PX:
        raise ValueError(
            f"model.graph: expected cells of 32 px, {SIDE_PX // 32} each way of an input of {SIDE_PX} px, "
            f"found {shapes[-1][1]}"
        )
    return layers


class Graph(nn.Module):
    """[B, 3, 32H, 32W] -> [B, C, H, W], twice, like the other backbones of `train.model`."""

    fine_channels = 0

    def __init__(self, layers: Sequence[Layer], bn_momentum: float = 0.01) -> None:
        super().__init__()
        self.description = tuple(layers)
        self.sources = [absolute(each, n) if isinstance(each, Route) else [n - 1] for n, each in enumerate(layers)]
        self.layers = nn.ModuleList()
        shapes: list[Shape] = [(3, 2**20 * 32)]
        for layer in layers:
            self.layers.append(_module(layer, shapes[-1][0], bn_momentum))
            shapes.append(shape_after(layer, shapes))
        self.coarse_channels = shapes[-1][0]
        routes = [number for number, layer in enumerate(layers) if isinstance(layer, Route)]
        self.last_use = {source: number for number in routes for source in self.sources[number]}

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = images
        kept: dict[int, torch.Tensor] = {}
        for number, layer in enumerate(self.layers):
            if isinstance(layer, Join):
                x = layer([kept[source] for source in self.sources[number]])
                kept = {source: each for source, each in kept.items() if self.last_use[source] > number}
            else:
                x = layer(x)
            if number in self.last_use:
                kept[number] = x
        return x, x


class Join(nn.Module):
    """Concatenates the channels of several maps."""

    def forward(self, maps: list[torch.Tensor]) -> torch.Tensor:
        return maps[0] if len(maps) == 1 else torch.cat(maps, dim=1)


def _module(layer: Layer, channels: int, bn_momentum: float) -> nn.Module:
    if isinstance(layer, Convolution):
        return ConvBlock(
            channels,
            layer.filters,
            layer.size,
            bn_momentum,
            stride=layer.stride,
            padding=layer.padding,
            groups=layer.groups,
            normalized=layer.normalized,
            activation=layer.activation,
        )
    if isinstance(layer, Pool):
        return MaxPool(*layer)
    if isinstance(layer, Reordering):
        return Reorg(layer.stride)
    return Join() if isinstance(layer, Route) else nn.Identity()
