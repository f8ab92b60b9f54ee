"""Memory that each layer keeps between forward and backward, in bytes per image. Pure: nothing is allocated."""

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

from train.graph.network import Graph
from train.graph.shapes import shape_after
from train.layers import ConvBlock, MaxPool, Stack
from train.model import YOLOv2

FLOAT, PLACE = 4, 8  # bytes


class Layer(NamedTuple):
    kept: int  # bytes per image that forward leaves for backward
    result: int  # the part that the next layer reads
    passing: int  # bytes per image that backward holds at a time, besides what is kept
    weights: int
    ends_stage: bool = False  # where `step.recompute` cuts
    frozen: bool = False  # then `passing` is in forward


def layers_of(model: YOLOv2, side: int, number: int) -> Iterator[Layer]:
    """Layers in the order of forward. number: bytes of one activation."""
    pixels = 3 * side**2 * number  # as the first convolution receives them
    yield Layer(pixels, pixels, 0, 0)
    shape = tap = (3, side)
    graph = model.backbone if isinstance(model.backbone, Graph) else None
    if graph:
        layers, shape = _graph(graph, side, number)
        yield from layers
    for stack in (*(() if graph else model.backbone.children()), model.neck):
        assert isinstance(stack, Stack)
        layers, shape = _stack(stack, *shape, number)
        yield from _frozen(layers) if model.frozen and stack is not model.neck else layers
        if stack is getattr(model.backbone, "fine", None):
            tap = shape
    if model.passthrough is not None:
        if model.bottleneck is not None:
            assert isinstance(model.bottleneck, Stack)
            layers, tap = _stack(model.bottleneck, *tap, number)
            yield from layers
        shape = (shape[0] + 4 * tap[0], shape[1])
        joined = _size(shape) * number
        yield Layer(joined, joined, joined, 0, ends_stage=True)
    layers, shape = _stack(model.fused, *shape, number)
    yield from layers
    raw = _size((model.output.out_channels, shape[1])) * FLOAT  # what the loss reads
    weights = sum(parameter.numel() for parameter in model.output.parameters())
    yield Layer(raw, raw, raw, weights, ends_stage=True)


def _frozen(layers: list[Layer]) -> list[Layer]:
    """Frozen layers: only the last one's result is kept, for the trained layers to read."""
    found, before = [], 0
    for place, layer in enumerate(layers, 1):
        kept = layer.result if place == len(layers) else 0
        found.append(Layer(kept, kept, before + layer.kept, 0, layer.ends_stage, frozen=True))
        before = layer.result
    return found


def _stack(stack: Stack, channels: int, side: int, number: int) -> tuple[list[Layer], tuple[int, int]]:
    """The layers, and channels and side of their result."""
    layers: list[Layer] = []
    for place, module in enumerate(stack, 1):
        before = _size((channels, side)) * number
        last = place == len(stack)
        if isinstance(module, ConvBlock):
            channels = module.conv.out_channels
            after = _size((channels, side)) * number
            weights = sum(parameter.numel() for parameter in module.parameters())
            layers.append(Layer(2 * after, after, max(2 * after, before - after), weights, last))
        else:
            padded = 0
            if isinstance(module, nn.MaxPool2d):
                side //= 2
            else:  # darknet's pool of stride 1: padded by a row and a column
                padded = _size((channels, side + 1)) * number
            after = _size((channels, side)) * number
            kept = padded + after + after // number * PLACE
            layers.append(Layer(kept, after, before + after, 0, True))
    return layers, (channels, side)


def _graph(graph: Graph, side: int, number: int) -> tuple[list[Layer], tuple[int, int]]:
    """Like `_stack`. A map that a route reads is counted again where it is joined."""
    layers: list[Layer] = []
    shapes = [(3, side)]
    for description, module in zip(graph.description, graph.layers, strict=True):
        before = _size(shapes[-1]) * number
        shapes.append(shape_after(description, shapes))
        after = _size(shapes[-1]) * number
        weights = sum(parameter.numel() for parameter in module.parameters())
        if isinstance(module, MaxPool):
            kept = 2 * after + after // number * PLACE
        else:
            kept = (2 if isinstance(module, ConvBlock) else 1) * after
        layers.append(Layer(kept, after, max(kept, before + after), weights))
    return layers, shapes[-1]


def _size(shape: tuple[int, int]) -> int:
    """Numbers in a map of (channels, side)."""
    return int(shape[0] * shape[1] ** 2)
