"""Layers of a described network, with the keys and defaults of darknet's cfg (src/parser.c).

    convolutional filters=16 size=3 pad=1 batch_normalize=1 activation=leaky
    maxpool size=2 stride=2
    route layers=-1,4
    reorg stride=2

A layer reads the one before it; `route` joins the channels of earlier layers, counted from 0, or backwards from itself.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from train.layers import ACTIVATIONS, Activation


class KeyProblem(ValueError):
    """A problem with one key of a layer; whoever reads the layer adds file and line."""

    def __init__(self, key: str, problem: str) -> None:
        super().__init__(f"{key}: {problem}")
        self.key, self.problem = key, problem


@dataclass(frozen=True)
class Convolution:
    filters: int
    size: int
    stride: int
    padding: int
    groups: int
    normalized: bool
    activation: Activation


class Pool(NamedTuple):
    size: int
    stride: int
    padding: int


class Route(NamedTuple):
    sources: tuple[int, ...]  # layers from 0, or negative: backwards from this one


class Reordering(NamedTuple):
    stride: int


class Dropout(NamedTuple):
    """Does nothing in a trained network, but counts as a layer."""


WHOLE = re.compile(r"[+-]?[0-9]{1,18}")  # other text that int() accepts, such as 1_0, is another number to darknet

Layer = Convolution | Pool | Route | Reordering | Dropout

#: allowed keys of each kind of layer. Keys that only training reads are in `train.darknet.keys`.
KEYS = {
    "convolutional": ("filters", "size", "stride", "pad", "padding", "groups", "batch_normalize", "activation"),
    "maxpool": ("size", "stride", "padding"),
    "route": ("layers",),
    "reorg": ("stride",),
    "dropout": ("probability",),
}


def whole(options: Mapping[str, str], key: str, default: int | None, least: int = 1) -> int:
    """A whole number of at least `least`. KeyProblem for anything else; without a default the key is required."""
    if key not in options:
        if default is None:
            raise KeyProblem(key, f"expected a whole number of at least {least}, the key is missing")
        return default
    if not WHOLE.fullmatch(options[key]) or int(options[key]) < least:
        raise KeyProblem(key, f"expected a whole number of at least {least}, found {options[key]!r:.80}")
    return int(options[key])


def read_layer(kind: str, options: Mapping[str, str]) -> Layer:
    """Reads a layer. KeyProblem for a key that this kind does not have, or an invalid value."""
    for key in options:
        if key not in KEYS[kind]:
            raise KeyProblem(key, f"expected {', '.join(KEYS[kind])}")
    if kind == "dropout":
        return Dropout()
    if kind == "reorg":
        return Reordering(whole(options, "stride", 1))
    if kind == "maxpool":
        stride = whole(options, "stride", 1)
        size = whole(options, "size", stride)
        padding = whole(options, "padding", size - 1, least=0)
        if padding > 2 * size - 2:  # otherwise a pool would see nothing but padding
            raise KeyProblem("padding", f"expected at most {2 * size - 2} for pools of size {size}, found {padding}")
        return Pool(size, stride, padding)
    if kind == "route":
        words = [word.strip() for word in options.get("layers", "").split(",") if word.strip()]
        if not all(WHOLE.fullmatch(word) for word in words):
            raise KeyProblem("layers", f"expected whole numbers, found {options['layers']!r:.80}")
        return Route(tuple(int(word) for word in words))
    size = whole(options, "size", 1)
    padding = size // 2 if whole(options, "pad", 0, least=0) else whole(options, "padding", 0, least=0)
    activation = options.get("activation", "logistic")
    if activation not in ACTIVATIONS:
        raise KeyProblem("activation", f"expected one of {', '.join(ACTIVATIONS)}, found {activation!r:.80}")
    normalized = bool(whole(options, "batch_normalize", 0, least=0))
    filters, stride, groups = whole(options, "filters", None), whole(options, "stride", 1), whole(options, "groups", 1)
    return Convolution(filters, size, stride, padding, groups, normalized, activation)
