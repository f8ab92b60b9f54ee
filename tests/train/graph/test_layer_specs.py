"""Layers in darknet's words, with darknet's defaults."""

import pytest

from train.graph.layer_specs import Convolution, KeyProblem, Pool, Reordering, Route, read_layer


def test_defaults_are_darknets() -> None:
    assert read_layer("convolutional", {"filters": "7"}) == Convolution(7, 1, 1, 0, 1, False, "logistic")
    assert read_layer("convolutional", {"filters": "7", "size": "5", "pad": "1", "padding": "9"}) == Convolution(
        7, 5, 1, 2, 1, False, "logistic"
    )
    assert read_layer("maxpool", {"stride": "4"}) == Pool(4, 4, 3)
    assert read_layer("maxpool", {"size": "2", "stride": "1", "padding": "0"}) == Pool(2, 1, 0)
    assert read_layer("route", {"layers": "-1, 8"}) == Route((-1, 8))
    assert read_layer("reorg", {}) == Reordering(1)


@pytest.mark.parametrize(
    ("kind", "options", "key"),
    [
        ("convolutional", {}, "filters"),
        ("convolutional", {"filters": "0"}, "filters"),
        ("convolutional", {"filters": "8", "stride": "2.0"}, "stride"),
        ("convolutional", {"filters": "8", "activation": "Leaky"}, "activation"),
        ("convolutional", {"filters": "8", "layers": "1"}, "layers"),
        ("maxpool", {"size": "2", "padding": "3"}, "padding"),
        ("route", {"layers": "a"}, "layers"),
    ],
)
def test_a_problem_names_its_key(kind: str, options: dict[str, str], key: str) -> None:
    with pytest.raises(KeyProblem) as caught:
        read_layer(kind, options)
    assert caught.value.key == key
