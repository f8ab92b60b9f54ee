"""Predicts what the exchange of gradients costs. Arithmetic only: nothing is measured or timed.

Seconds, bytes, floating-point operations. Links are rated in one direction, which limits an all-reduce.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from train.model import YOLOv2

GPUS_OF_A_NODE = 8
LAUNCH_S = 5e-3  # the host's own work for a compiled step: assumed
BACKWARD_SHARE = 0.65  # of a step: twice the work of forward; the update is the rest
AGREEMENT_BYTES = 8  # whether to stop: sent before forward
LOG_BYTES, LOG_EVERY = (88, 4), 10  # two means at every log line, one after the other; steps between two lines


class Link(NamedTuple):
    name: str
    bytes_s: float  #: according to its maker
    share: float  #: of it that an all-reduce of tens of MB is assumed to reach
    hop_s: float  #: a message from one to the next, including software; assumed

    def __str__(self) -> str:
        return f"{self.name}: {self.bytes_s / 1e9:g} GB/s x {self.share:g}, {self.hop_s * 1e6:g} us a hop"


NVLINK = Link("NVLink 4, of each GPU", 450e9, 0.6, 3e-6)
BETWEEN_NODES = {
    "InfiniBand": Link("InfiniBand NDR, 8 ports of a node together", 400e9, 0.8, 8e-6),
    "the same, half": Link("InfiniBand at half of that, in a bad case", 400e9, 0.4, 20e-6),
    "Ethernet 100": Link("Ethernet, 100 Gbit/s of a node", 12.5e9, 0.8, 40e-6),
    "Ethernet 25": Link("Ethernet, 25 Gbit/s of a node", 3.125e9, 0.8, 40e-6),
}


class Bucket(NamedTuple):
    """Gradients that are exchanged together."""

    num_bytes: int  #: in float32
    ready: float  #: share of backward's work that is done when they are complete


class Prediction(NamedTuple):
    """Times of one step, in seconds."""

    exchange: float  #: of the gradients, by itself
    exposed: float  #: the part of it that backward does not hide
    statistics: float  #: the mean of batch norm's statistics, which nothing hides
    agreement: float  #: whether to stop: the part of it that forward does not hide
    logged: float  #: means for log lines, for each step between two
    device: float  #: the step on the device, including the above
    efficiency: float  #: relative to a step of one GPU; the host's launching counts if it takes longer than the device


def all_reduce_s(num_bytes: float, members: int, link: Link) -> float:
    """The better of a ring, 2(n-1) messages in sequence, and a double tree, 2 log2 n, as NCCL chooses."""
    if members == 1:
        return 0.0
    whole = 2 * num_bytes / (link.bytes_s * link.share)
    ring = whole * (members - 1) / members + 2 * (members - 1) * link.hop_s
    tree = whole + 2 * math.ceil(math.log2(members)) * link.hop_s
    return min(ring, tree)


def exchange_s(num_bytes: float, gpus: int, between: Link) -> float:
    """Inside the nodes, then between them, in sequence: NCCL overlaps the two, which would be faster.

    Between nodes each GPU has its share of the bytes to exchange and its share of the node's links.
    """
    inside = min(gpus, GPUS_OF_A_NODE)
    return all_reduce_s(num_bytes, inside, NVLINK) + all_reduce_s(num_bytes, math.ceil(gpus / inside), between)


def exposed_s(ready_s: Sequence[float], took_s: Sequence[float], backward_s: float) -> float:
    """Time from the end of backward to the end of the last exchange; exchanges are sequential, each when ready."""
    end = 0.0
    for ready, took in zip(ready_s, took_s, strict=True):
        end = max(end, ready) + took
    return max(0.0, end - backward_s)


def predict(
    gpus: int,
    between: Link,
    *,
    step_s: float,
    buckets: Sequence[Bucket],
    statistics_bytes: int,
    bytes_of_a_number: int = 4,
    overlapped: bool = True,
    parts: int = 1,
) -> Prediction:
    """Predicts a step. step_s: of one GPU with the same number of images.

    overlapped: buckets are sent during backward; not possible if it is one graph, whose gradients all come at its end.
    parts: in which a GPU's images are accumulated; gradients go with the last.
    """
    backward_s = BACKWARD_SHARE * step_s / parts
    took = [exchange_s(bucket.num_bytes * bytes_of_a_number / 4, gpus, between) for bucket in buckets]
    ready = [backward_s * (bucket.ready if overlapped else 1) for bucket in buckets]
    exposed = exposed_s(ready, took, backward_s)
    statistics = exchange_s(statistics_bytes, gpus, between)
    forward_s = (1 - BACKWARD_SHARE) * step_s / parts
    agreement = max(0.0, exchange_s(AGREEMENT_BYTES, gpus, between) - forward_s)
    logged = sum(exchange_s(size, gpus, between) for size in LOG_BYTES) / LOG_EVERY
    device = step_s + exposed + statistics + agreement + logged
    efficiency = max(step_s, LAUNCH_S) / max(device, LAUNCH_S)
    return Prediction(sum(took), exposed, statistics, agreement, logged, device, efficiency)


def gradient_buckets(model: YOLOv2, side: int, first_mb: float = 1, most_mb: float = 25) -> list[Bucket]:
    """Buckets as DDP fills them, in the order of backward, each of its size in MiB or more. Any device will do."""
    layers = _layers(model, side)
    work = [flop * (2 if number else 1) for number, (_, flop) in enumerate(layers)]  # no gradient of the images
    buckets: list[Bucket] = []
    waiting, done, limit = 0, 0.0, first_mb
    for (sizes, _), flop in reversed(list(zip(layers, work, strict=True))):
        done += flop
        for size in sizes:
            waiting += size
            if waiting >= limit * 2**20:
                buckets.append(Bucket(waiting, done / sum(work)))
                waiting, limit = 0, most_mb
    return [*buckets, Bucket(waiting, 1.0)] if waiting else buckets


def forward_flop(model: YOLOv2, side: int) -> float:
    """FLOP per image, convolutions alone. A step does three times as much."""
    return sum(flop for _, flop in _layers(model, side))


def _layers(model: YOLOv2, side: int) -> list[tuple[list[int], float]]:
    """Layers in the order of forward: bytes of each gradient, and forward's work per image."""
    found: list[tuple[list[int], float]] = []

    def note(module: nn.Module, _: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        sizes = [4 * parameter.numel() for parameter in module.parameters(recurse=False)]
        found.append((sizes, 2.0 * output[0].numel() * module.weight[0].numel() if module.weight.ndim == 4 else 0.0))

    kinds = (nn.Conv2d, nn.BatchNorm2d)
    handles = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, kinds)]
    with torch.no_grad():
        model(torch.empty(2, 3, side, side, device=next(model.parameters()).device))
    for handle in handles:
        handle.remove()
    return found


def statistics_bytes(model: YOLOv2) -> int:
    names = ("running_mean", "running_var")
    return sum(4 * buffer.numel() for name, buffer in model.named_buffers() if name.endswith(names))
