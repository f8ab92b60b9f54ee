"""How much memory a training step takes, from the network and the size of its input. Pure: nothing is allocated.

What forward leaves for backward, of every layer and image: what the convolution and what the leaky ReLU gave, and of a
pool also where its largest were, as int64. The peak is where forward ends, or in backward where gradients of weights
have come and those of the large first layers pass. All this is the eager step's; compiled it is less.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import nn

from train.graph.network import Graph
from train.graph.shapes import shape_after
from train.layers import ConvBlock, MaxPool, Stack
from train.model import YOLOv2

FLOAT, PLACE = 4, 8  # bytes
LOSS_NUMBERS = 8  # at once for each box and truth slot, in `train.loss`


class Memory(NamedTuple):
    """Bytes of one process at the peak of a step."""

    weights: int  #: parameters, statistics, moments of the optimizer, and the average where there is one
    gradients: int
    batch: int  #: images and truths, twice where the next ones arrive meanwhile
    activations: int  #: all that lies between forward and backward, copies of weights in low precision too

    @property
    def total(self) -> int:
        return sum(self)


class _Layer(NamedTuple):
    kept: int  # bytes of an image that forward leaves for backward
    result: int  # the part of them that the next layer reads
    passing: int  # bytes of an image that backward has at once beside what is kept
    weights: int
    ends_stage: bool = False  # where `step.recompute` cuts
    frozen: bool = False  # it passes in forward then


def step_memory(
    model: YOLOv2,
    *,
    side: int,
    local: int,
    parts: int = 1,
    dtype: torch.dtype = torch.bfloat16,
    averaged: bool = False,
    moments: int = 1,
    recompute: bool = False,
    distributed: bool = False,
    truth_slots: int = 50,
    prefetched: bool = False,
) -> Memory:
    """Of a process that has `local` images of each batch and cuts them into `parts`.

    moments: numbers that the optimizer keeps for each weight. distributed: DDP holds all gradients from the start.
    prefetched: the next batch is copied meanwhile, as on CUDA. The model may be anywhere, on the meta device too.
    """
    images, number = local // parts, dtype.itemsize
    layers = list(_layers(model, side, number))
    num_weights = sum(parameter.numel() for parameter in model.parameters())
    num_trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    copied = 0 if dtype == torch.float32 else number  # bytes of the copy that autocast makes of a weight
    loss = FLOAT * model.num_anchors * (side // 32) ** 2 * LOSS_NUMBERS * truth_slots
    pixels = FLOAT * 3 * side**2
    beside = pixels + loss if recompute else max(pixels, loss)  # pixels until the network is through, then the loss
    sizes = {"pixels": pixels, "beside": beside, "trained": num_trained, "copied": copied}
    peaks = _peaks(layers, images, **sizes, recompute=recompute, whole=distributed or parts > 1)
    gradients, activations = max(peaks, key=sum)
    state = FLOAT * (num_weights + sum(buffer.numel() for buffer in model.buffers()))
    batch = local * (3 * side**2 + FLOAT * 5 * truth_slots)
    return Memory(
        state * (1 + averaged) + FLOAT * num_weights * moments, gradients, batch * (1 + prefetched), activations
    )


def _peaks(
    layers: list[_Layer],
    images: int,
    *,
    pixels: int,
    beside: int,
    trained: int,
    copied: int,
    recompute: bool,
    whole: bool,
) -> Iterator[tuple[int, int]]:
    """Bytes of gradients and of activations, where forward ends and after each layer of backward.

    beside: bytes of an image besides its activations. trained: weights, copied: bytes of the copy of one in low
    precision. whole: all gradients are held from the start.
    """
    gradients = FLOAT * trained if whole else 0
    held = images * sum(layer.result * layer.ends_stage if recompute else layer.kept for layer in layers)
    copies = copied * trained
    yield gradients, held + copies + images * beside
    for layer in layers:
        if layer.frozen:
            yield gradients, copies + images * (pixels + layer.passing)
    layers = [layer._replace(passing=0) if layer.frozen else layer for layer in layers]
    if recompute:
        copies = 0
    for stage in _stages(layers) if recompute else [layers]:
        if recompute:
            held += images * (sum(layer.kept for layer in stage) - stage[-1].result)
            copies += copied * sum(layer.weights for layer in stage)
        for layer in reversed(stage):
            gradients += 0 if whole else FLOAT * layer.weights
            passing = images * (layer.passing + recompute * pixels) + (copied + whole * FLOAT) * layer.weights
            yield gradients, held + copies + passing
            held -= images * layer.kept
            copies -= copied * layer.weights


def _stages(layers: list[_Layer]) -> list[list[_Layer]]:
    """What is recomputed at once, the last one first."""
    stages: list[list[_Layer]] = [[]]
    for layer in layers:
        stages[-1].append(layer)
        if layer.ends_stage:
            stages.append([])
    return [stage for stage in reversed(stages) if stage]


def _layers(model: YOLOv2, side: int, number: int) -> Iterator[_Layer]:
    """In the order of forward. number: bytes of one activation."""
    pixels = 3 * side**2 * number  # as the first convolution takes them
    yield _Layer(pixels, pixels, 0, 0)
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
        yield _Layer(joined, joined, joined, 0, ends_stage=True)
    layers, shape = _stack(model.fused, *shape, number)
    yield from layers
    raw = _size((model.output.out_channels, shape[1])) * FLOAT  # what the loss reads
    weights = sum(parameter.numel() for parameter in model.output.parameters())
    yield _Layer(raw, raw, raw, weights, ends_stage=True)


def _frozen(layers: list[_Layer]) -> list[_Layer]:
    """Nothing is kept of them but what the last gives, which layers that are trained read."""
    found, before = [], 0
    for place, layer in enumerate(layers, 1):
        kept = layer.result if place == len(layers) else 0
        found.append(_Layer(kept, kept, before + layer.kept, 0, layer.ends_stage, frozen=True))
        before = layer.result
    return found


def _stack(stack: Stack, channels: int, side: int, number: int) -> tuple[list[_Layer], tuple[int, int]]:
    """The layers, and channels and side of what comes out."""
    layers: list[_Layer] = []
    for place, module in enumerate(stack, 1):
        before = _size((channels, side)) * number
        last = place == len(stack)
        if isinstance(module, ConvBlock):
            channels = module.conv.out_channels
            after = _size((channels, side)) * number
            weights = sum(parameter.numel() for parameter in module.parameters())
            layers.append(_Layer(2 * after, after, max(2 * after, before - after), weights, last))
        else:
            padded = 0
            if isinstance(module, nn.MaxPool2d):
                side //= 2
            else:  # darknet's pool of stride 1: padded by a row and a column
                padded = _size((channels, side + 1)) * number
            after = _size((channels, side)) * number
            kept = padded + after + after // number * PLACE
            layers.append(_Layer(kept, after, before + after, 0, True))
    return layers, (channels, side)


def _graph(graph: Graph, side: int, number: int) -> tuple[list[_Layer], tuple[int, int]]:
    """As `_stack`. A map that a route reads is counted again where it is joined."""
    layers: list[_Layer] = []
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
        layers.append(_Layer(kept, after, max(kept, before + after), weights))
    return layers, shapes[-1]


def _size(shape: tuple[int, int]) -> int:
    """Numbers in so many channels of so many pixels each way."""
    return int(shape[0] * shape[1] ** 2)
