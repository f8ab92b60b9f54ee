"""The nested state in a checkpoint."""

import math
from typing import Any

import pytest
import torch

from train.run.checkpoint_state import copied, describes, non_finite


def test_a_copy_shares_nothing_that_training_changes() -> None:
    state = {"a": [torch.ones(2), (1, "x")], "b": None}
    copy = copied(state)
    state["a"][0] += 1
    assert copy["a"][0].tolist() == [1, 1] and copy["a"][1] == (1, "x") and copy["b"] is None


@pytest.mark.parametrize("bad", [torch.tensor([0, math.nan]), torch.tensor(-math.inf), torch.zeros(2).to_sparse()])
def test_what_is_not_made_of_finite_numbers_is_named(bad: torch.Tensor) -> None:
    assert non_finite({"step": {"model": [torch.ones(2), bad]}}) == "step.model.1"
    assert non_finite({"step": [torch.ones(2), torch.tensor([1]), 3, "x", None]}) is None


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ({"width": 1, "classes": ["a"]}, True),
        ({"width": 1}, True),  # what is missing is another network's
        ({"width": "1", "classes": ["a"]}, False),
        ({"width": 1.0, "classes": {"a": 1}}, False),
        ({"depth": 3}, False),
    ],
)
def test_a_network_is_described_by_values_of_the_same_types(found: dict[str, Any], expected: bool) -> None:
    assert describes(found, {"width": 0.5, "classes": ["b"]}) == expected
