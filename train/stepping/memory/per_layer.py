"""Memory that each layer keeps between forward and backward, in bytes per image. Pure: nothing is allocated."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

from train.graph.network import Graph
from train.graph.shapes import shape_after
from train.layers import ConvBlock, MaxPool, Stack
from train.model import YOLOv2

FLOAT, INDEX = 4, 8  # bytes; a max pool keeps the int64 index of each maximum


class LayerMemory(NamedTuple):
    """Memory of one layer, in bytes per image unless stated otherwise."""

    kept: int  # from forward until backward
    output: int  # the part of `kept` that the next layer reads
    transient: int  # during backward of this layer, besides what is kept; if frozen, during forward
    weights: int  # their number
    ends_stage: bool = False  # where `step.recompute` cuts
    frozen: bool = False


def layers_of(model: YOLOv2, side: int, itemsize: int) -> Iterator[LayerMemory]:
    """Layers in the order of forward. itemsize: bytes of one activation."""
    pixels = 3 * side**2 * itemsize  # as the first convolution receives them
    yield LayerMemory(pixels, pixels, 0, 0)
    shape = tap = (3, side)
    graph = model.backbone if isinstance(model.backbone, Graph) else None
    if graph:
        layers, shape = _graph(graph, side, itemsize)
        yield from layers
    for stack in (*(() if graph else model.backbone.children()), model.neck):
        assert isinstance(stack, Stack)
        layers, shape = _stack(stack, *shape, itemsize)
        yield from _frozen(layers) if model.frozen and stack is not model.neck else layers
        if stack is getattr(model.backbone, "fine", None):
            tap = shape
    if model.passthrough is not None:
        if model.bottleneck is not None:
            assert isinstance(model.bottleneck, Stack)
            layers, tap = _stack(model.bottleneck, *tap, itemsize)
            yield from layers
        shape = (shape[0] + 4 * tap[0], shape[1])
        joined = _size(shape) * itemsize
        yield LayerMemory(joined, joined, joined, 0, ends_stage=True)
    layers, shape = _stack(model.fused, *shape, itemsize)
    yield from layers
    raw = _size((model.output.out_channels, shape[1])) * FLOAT  # what the loss reads
    weights = sum(parameter.numel() for parameter in model.output.parameters())
    yield LayerMemory(raw, raw, raw, weights, ends_stage=True)


def _frozen(layers: list[LayerMemory]) -> list[LayerMemory]:
    """The layers if frozen: only the last one's output is kept, for the trained layers to read."""
    found, before = [], 0
    for number, layer in enumerate(layers, 1):
        kept = layer.output if number == len(layers) else 0
        found.append(LayerMemory(kept, kept, before + layer.kept, 0, layer.ends_stage, frozen=True))
        before = layer.output
    return found


def _stack(stack: Stack, channels: int, side: int, itemsize: int) -> tuple[list[LayerMemory], tuple[int, int]]:
    """The layers, and channels and side of their output."""
    layers: list[LayerMemory] = []
    for number, module in enumerate(stack, 1):
        before = _size((channels, side)) * itemsize
        last = number == len(stack)
        if isinstance(module, ConvBlock):
            channels = module.conv.out_channels
            after = _size((channels, side)) * itemsize
            weights = sum(parameter.numel() for parameter in module.parameters())
            layers.append(LayerMemory(2 * after, after, max(2 * after, before - after), weights, last))
        else:
            padded = 0
            if isinstance(module, nn.MaxPool2d):
                side //= 2
            else:  # darknet's pool of stride 1: padded by a row and a column
                padded = _size((channels, side + 1)) * itemsize
            after = _size((channels, side)) * itemsize
            kept = padded + after + after // itemsize * INDEX
            layers.append(LayerMemory(kept, after, before + after, 0, True))
    return layers, (channels, side)


def _graph(graph: Graph, side: int, itemsize: int) -> tuple[list[LayerMemory], tuple[int, int]]:
    """As `_stack`. A map that a route reads is counted again where it is joined."""
    layers: list[LayerMemory] = []
    shapes = [(3, side)]
    for description, module in zip(graph.description, graph.layers, strict=True):
        before = _size(shapes[-1]) * itemsize
        shapes.append(shape_after(description, shapes))
        after = _size(shapes[-1]) * itemsize
        weights = sum(parameter.numel() for parameter in module.parameters())
        if isinstance(module, MaxPool):
            kept = 2 * after + after // itemsize * INDEX
        else:
            kept = (2 if isinstance(module, ConvBlock) else 1) * after
        layers.append(LayerMemory(kept, after, max(kept, before + after), weights))
    return layers, shapes[-1]


def _size(shape: tuple[int, int]) -> int:
    """Number of activations in a map of (channels, side)."""
    return int(shape[0] * shape[1] ** 2)
