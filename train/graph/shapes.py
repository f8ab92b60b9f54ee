"""Shapes of feature maps, layer by layer: nothing is computed or allocated."""

from collections.abc import Sequence

from train.graph.layer_specs import Convolution, KeyProblem, Layer, Pool, Reordering, Route

MOST_WEIGHTS = 2**31  # of one layer: anything larger is a typo, and is refused before memory is allocated
Shape = tuple[int, int]  # channels, and the side of a square map


def shape_after(layer: Layer, before: Sequence[Shape]) -> Shape:
    """The shape after a layer. before: shapes of the input and earlier layers. KeyProblem if it cannot follow them."""
    channels, side = before[-1]
    if isinstance(layer, Convolution):
        if channels % layer.groups or layer.filters % layer.groups:
            raise KeyProblem("groups", f"expected a divisor of {channels} channels and {layer.filters} filters")
        if (weights := channels // layer.groups * layer.filters * layer.size**2) > MOST_WEIGHTS:
            raise KeyProblem("filters", f"expected at most {MOST_WEIGHTS:,} weights in a layer, found {weights:,}")
        channels, side = layer.filters, (side + 2 * layer.padding - layer.size) // layer.stride + 1
    elif isinstance(layer, Pool):
        side = (side + layer.padding - layer.size) // layer.stride + 1
    elif isinstance(layer, Reordering):
        if channels % layer.stride**2 or side % layer.stride:
            raise KeyProblem(
                "stride", f"expected one that divides the map of {side} px, and squared its {channels} channels"
            )
        channels, side = channels * layer.stride**2, side // layer.stride
    elif isinstance(layer, Route):
        channels, side = _joined([before[source + 1] for source in absolute(layer, len(before) - 1)])
    if side < 1:
        raise KeyProblem("size", "expected a map of at least one cell, found none left")
    return channels, side


def absolute(route: Route, number: int) -> list[int]:
    """A route's sources, counted from 0; its own number is `number`. KeyProblem for a source that is not earlier."""
    sources = [source + number if source < 0 else source for source in route.sources]
    if not sources or not all(0 <= source < number for source in sources):
        raise KeyProblem("layers", f"expected layers before this one, which is layer {number}, found {route.sources}")
    return sources


def _joined(shapes: Sequence[Shape]) -> Shape:
    if len({side for _, side in shapes}) > 1:
        raise KeyProblem("layers", f"expected maps of one size, found {', '.join(f'{side} px' for _, side in shapes)}")
    return sum(channels for channels, _ in shapes), shapes[0][1]
