"""The published networks, and plain stacks: a number is a 3x3 convolution with that many filters, a negative number a
1x1 convolution, POOL halves the map. All with batch norm and leaky ReLU.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from torch import nn

from train.layers import ConvBlock, Stack

POOL, POOL_SAME = "pool", "pool, stride 1"
Layers = Sequence[int | str]
Variant = Literal["yolov2", "yolov2-2016", "tiny-voc", "tiny-coco"]


class Description(NamedTuple):
    """The stacks of a network, in the order of forward; the output convolution follows them."""

    fine: Layers = ()  #: up to the passthrough tap, stride 16
    coarse: Layers = ()  #: from there to stride 32
    neck: Layers = ()
    bottleneck: int | None = None  #: 1x1 filters before the passthrough (None: no such layer)
    fused: Layers = ()  #: after the concatenation; (): no passthrough


FINE = (32, POOL, 64, POOL, 128, -64, 128, POOL, 256, -128, 256, POOL, 512, -256, 512, -256, 512)
COARSE = (POOL, 1024, -512, 1024, -512, 1024)
TINY = (16, POOL, 32, POOL, 64, POOL, 128, POOL, 256, POOL, 512, POOL_SAME, 1024)

VARIANTS: dict[Variant, Description] = {
    "yolov2": Description(FINE, COARSE, (1024, 1024), 64, (1024,)),
    "yolov2-2016": Description(FINE, COARSE, (1024, 1024), None, (1024,)),  # the network of the paper's numbers
    "tiny-voc": Description(coarse=TINY, neck=(1024,)),
    "tiny-coco": Description(coarse=TINY, neck=(512,)),
}


def parse_layers(text: str) -> Layers:
    """ "16 pool -8" -> (16, POOL, -8). Five pools, since the grid has cells of 32 px."""
    layers = tuple(word if word == POOL else _filters(word) for word in text.split())
    if layers.count(POOL) != 5:
        raise ValueError(f"model.layers={text!r}: expected 5 times {POOL}, found {layers.count(POOL)}; cells are 32 px")
    return layers


def _filters(word: str) -> int:
    try:
        filters = int(word)
    except ValueError:
        filters = 0
    if filters == 0:
        raise ValueError(f"model.layers: expected numbers of filters and {POOL!r}, found {word!r}")
    return filters


def build_stack(layers: Layers, channels: int, width: float, bn_momentum: float) -> tuple[Stack, int]:
    """The modules and their number of output channels."""
    stack = Stack()
    for layer in layers:
        if layer == POOL:
            stack.append(nn.MaxPool2d(2))
        elif layer == POOL_SAME:  # darknet pads one row at the bottom and one column on the right
            stack.append(nn.Sequential(nn.ReplicationPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, stride=1)))
        else:
            assert isinstance(layer, int)
            filters = max(1, round(abs(layer) * width))
            stack.append(ConvBlock(channels, filters, 3 if layer > 0 else 1, bn_momentum))
            channels = filters
    return stack, channels
