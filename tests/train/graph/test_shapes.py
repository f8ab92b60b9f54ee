"""Sizes of maps without making one."""

import pytest

from train.graph.layer_specs import Convolution, KeyProblem, Pool, Reordering, Route
from train.graph.shapes import absolute, shape_after


def test_sizes_are_darknets() -> None:
    assert shape_after(Convolution(8, 3, 2, 1, 1, True, "leaky"), [(3, 33)]) == (8, 17)
    assert shape_after(Pool(2, 2, 1), [(3, 33)]) == (3, 17)
    assert shape_after(Pool(2, 1, 1), [(3, 13)]) == (3, 13)
    assert shape_after(Reordering(2), [(8, 26)]) == (32, 13)
    assert shape_after(Route((-1, 0)), [(3, 9), (4, 9), (5, 9)]) == (9, 9)
    assert absolute(Route((-2, 0)), 5) == [3, 0]


@pytest.mark.parametrize(
    ("layer", "key"),
    [
        (Convolution(8, 3, 1, 1, 2, True, "leaky"), "groups"),
        (Convolution(10**9, 3, 1, 1, 1, True, "leaky"), "filters"),
        (Convolution(8, 30, 1, 0, 1, True, "leaky"), "size"),
        (Reordering(2), "stride"),
        (Route((0, 1)), "layers"),
        (Route((2,)), "layers"),
        (Route((-3,)), "layers"),
        (Route(()), "layers"),
    ],
)
def test_what_cannot_follow_names_its_key(layer: Convolution | Reordering | Route, key: str) -> None:
    with pytest.raises(KeyProblem) as caught:
        shape_after(layer, [(3, 24), (5, 24), (5, 12)])
    assert caught.value.key == key
