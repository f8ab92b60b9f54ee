"""Recognizes a described network as `model.variant` or `model.layers`."""

from collections.abc import Sequence

from train.graph.layer_specs import Convolution, Layer, Pool, Reordering, Route
from train.graph.shapes import absolute
from train.graph.variants import POOL, POOL_SAME, VARIANTS, Layers
from train.model import ModelConfig, Passthrough


def shorthand(layers: Sequence[Layer]) -> ModelConfig | None:
    """The short form of a network, if any. layers: all but the last convolution."""
    words = _words(layers)
    if words is None:
        return None
    joined = any(isinstance(layer, Route | Reordering) or _is_space_to_depth(layer) for layer in layers)
    return _published(words, layers) if joined else _plain(words)


def _words(layers: Sequence[Layer]) -> Layers | None:
    """The layers in the words of `train.graph.variants`, without routes; None if one is of another kind."""
    words: list[int | str] = []
    for layer in layers:
        if isinstance(layer, Convolution) and not _is_space_to_depth(layer):
            usual = Convolution(layer.filters, layer.size, 1, layer.size // 2, 1, True, "leaky")
            if layer != usual or layer.size not in (1, 3):
                return None
            words.append(layer.filters if layer.size == 3 else -layer.filters)
        elif isinstance(layer, Pool):
            if layer not in (Pool(2, 2, 1), Pool(2, 1, 1)):
                return None
            words.append(POOL if layer.stride == 2 else POOL_SAME)
    return words


def _is_space_to_depth(layer: Layer) -> bool:
    """Whether it is as `train.darknet.describe` writes it; its kernel is checked when weights are read."""
    return isinstance(layer, Convolution) and layer == Convolution(layer.filters, 2, 2, 0, 1, False, "linear")


def _width(published: Layers, words: Layers) -> float | None:
    """The factor on the published numbers of filters that gives these layers."""
    width = 0.0 if not words or isinstance(words[0], str) else abs(words[0]) / abs(int(published[0]))
    scaled = [
        part if isinstance(part, str) else (-1 if part < 0 else 1) * max(1, round(abs(part) * width))
        for part in published
    ]
    return width if scaled == list(words) and 0 < width <= 4 else None


def _plain(words: Layers) -> ModelConfig | None:
    for variant, description in VARIANTS.items():
        if not description.fused and (width := _width((*description.coarse, *description.neck), words)):
            return ModelConfig(variant=variant, width=width)
    if POOL_SAME in words:
        return None
    return ModelConfig(layers=" ".join(map(str, words))) if words.count(POOL) == 5 else None


def _published(words: Layers, layers: Sequence[Layer]) -> ModelConfig | None:
    """Darknet-19 with one passthrough, at any width, if its routes are those of yolov2-voc.cfg."""
    routes = [(number, layer) for number, layer in enumerate(layers) if isinstance(layer, Route)]
    if len(routes) != 2:
        return None
    (first, tap), (second, joined) = routes
    between = layers[first + 1 : second]
    others = [layer for layer in layers if isinstance(layer, Reordering) or _is_space_to_depth(layer)]
    if not between or others != [between[-1]] or others[0] == Reordering(1):
        return None
    passthrough: Passthrough = "reorg" if others[0] == Reordering(2) else "space_to_depth"
    for variant, description in VARIANTS.items():
        bottleneck = [-description.bottleneck] if description.bottleneck else []
        before = [*description.fine, *description.coarse, *description.neck]
        width = _width([*before, *bottleneck, *description.fused], words)
        as_published = (
            description.fused
            and first == len(before)
            and len(between) == len(bottleneck) + 1
            and absolute(tap, first) == [len(description.fine) - 1]
            and absolute(joined, second) == [second - 1, first - 1]
        )
        if width and as_published:
            return ModelConfig(variant=variant, passthrough=passthrough, width=width)
    return None
