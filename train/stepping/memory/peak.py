"""Predicts the memory of a training step from the network and its input size. Pure: nothing is allocated.

Forward keeps the outputs of every convolution and leaky ReLU for backward, and of a max pool also the indices of its
maxima, as int64. The peak is at the end of forward, or in backward at the first layers: their activations are the
largest, and by then most gradients of weights are held as well. A compiled step takes less than this eager one.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from train.detection.validate import CELL_PX
from train.model import YOLOv2
from train.stepping.memory.per_layer import FLOAT, LayerMemory, layers_of

LOSS_NUMBERS = 8  # at a time for each box and truth slot, in `train.loss`


class Memory(NamedTuple):
    """Bytes of one process at the peak of a step."""

    weights: int  #: parameters, statistics, moments of the optimizer, and averaged weights if there are any
    gradients: int
    batch: int  #: images and truths, twice if the next batch is copied meanwhile
    activations: int  #: including autocast's copies of weights in low precision

    @property
    def total(self) -> int:
        return sum(self)


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
    """Memory of a process that has `local` images of each batch and splits them into `parts`.

    moments: numbers that the optimizer keeps for each weight. distributed: DDP holds all gradients from the start.
    prefetched: the next batch is copied meanwhile, as on CUDA. The model may be on any device, even meta.
    """
    images = local // parts
    layers = list(layers_of(model, side, dtype.itemsize))
    num_weights = sum(parameter.numel() for parameter in model.parameters())
    num_trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    copied = 0 if dtype == torch.float32 else dtype.itemsize  # bytes of autocast's copy of a weight
    loss = FLOAT * model.num_anchors * (side // CELL_PX) ** 2 * LOSS_NUMBERS * truth_slots
    pixels = FLOAT * 3 * side**2
    beside = pixels + loss if recompute else max(pixels, loss)  # pixels until the network is done, then the loss
    sizes = {"pixels": pixels, "beside": beside, "trained": num_trained, "copied": copied}
    peaks = _peaks(layers, images, **sizes, recompute=recompute, whole=distributed or parts > 1)
    gradients, activations = max(peaks, key=sum)
    state = FLOAT * (num_weights + sum(buffer.numel() for buffer in model.buffers()))
    batch = local * (3 * side**2 + FLOAT * 5 * truth_slots)
    return Memory(
        state * (1 + averaged) + FLOAT * num_weights * moments, gradients, batch * (1 + prefetched), activations
    )


def _peaks(
    layers: list[LayerMemory],
    images: int,
    *,
    pixels: int,
    beside: int,
    trained: int,
    copied: int,
    recompute: bool,
    whole: bool,
) -> Iterator[tuple[int, int]]:
    """Bytes of gradients and of activations, at the end of forward and after each layer of backward.

    beside: bytes per image besides its activations. trained: number of weights, copied: bytes of a weight's copy in low
    precision. whole: all gradients are held from the start.
    """
    gradients = FLOAT * trained if whole else 0
    held = images * sum(layer.output * layer.ends_stage if recompute else layer.kept for layer in layers)
    copies = copied * trained
    yield gradients, held + copies + images * beside
    for layer in layers:
        if layer.frozen:
            yield gradients, copies + images * (pixels + layer.transient)
    layers = [layer._replace(transient=0) if layer.frozen else layer for layer in layers]
    if recompute:
        copies = 0
    for stage in _stages(layers) if recompute else [layers]:
        if recompute:
            held += images * (sum(layer.kept for layer in stage) - stage[-1].output)
            copies += copied * sum(layer.weights for layer in stage)
        for layer in reversed(stage):
            gradients += 0 if whole else FLOAT * layer.weights
            transient = images * (layer.transient + recompute * pixels) + (copied + whole * FLOAT) * layer.weights
            yield gradients, held + copies + transient
            held -= images * layer.kept
            copies -= copied * layer.weights


def _stages(layers: list[LayerMemory]) -> list[list[LayerMemory]]:
    """Groups of layers that are recomputed together, the last first."""
    stages: list[list[LayerMemory]] = [[]]
    for layer in layers:
        stages[-1].append(layer)
        if layer.ends_stage:
            stages.append([])
    return [stage for stage in reversed(stages) if stage]
