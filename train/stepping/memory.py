"""How much memory a training step takes, from the network and the size of its input. Pure: nothing is allocated.

What forward leaves for backward, of every layer and image: what the convolution and what the leaky ReLU gave, and of a
pool also where its largest were, as int64. The peak is where forward ends, or in backward where gradients of weights
have come and those of the large first layers pass. All this is the eager step's; compiled it is less.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch

from train.model import YOLOv2
from train.stepping.layer_memory import FLOAT, Layer, layers_of

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
    """Memory of a process that has `local` images of each batch and cuts them into `parts`.

    moments: numbers that the optimizer keeps for each weight. distributed: DDP holds all gradients from the start.
    prefetched: the next batch is copied meanwhile, as on CUDA. The model may be anywhere, on the meta device too.
    """
    images, number = local // parts, dtype.itemsize
    layers = list(layers_of(model, side, number))
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
    layers: list[Layer],
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


def _stages(layers: list[Layer]) -> list[list[Layer]]:
    """What is recomputed at once, the last one first."""
    stages: list[list[Layer]] = [[]]
    for layer in layers:
        stages[-1].append(layer)
        if layer.ends_stage:
            stages.append([])
    return [stage for stage in reversed(stages) if stage]
