"""Plain networks in one line."""

import pytest

from train.graph.variants import parse_layers


def test_a_line_of_numbers_is_a_network() -> None:
    assert parse_layers("16 pool -8 pool pool pool pool") == (16, "pool", -8, "pool", "pool", "pool", "pool")


@pytest.mark.parametrize("text", ["", "16 pool", "16 pool x pool pool pool pool", "0 pool pool pool pool pool"])
def test_other_lines_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"model\.layers"):
        parse_layers(text)
