"""Checks of values; the loss's tests try what each refuses."""

import pytest
import torch

from train.detection.validate import check_anchors, check_shapes, check_values


def test_what_a_loader_writes_passes() -> None:
    edges = torch.tensor([[(0.0, 1.0, 1.0, 1.0, 0.0), (1.0, 0.0, 1e-3, 1e-3, 79.0), (0.0, 0.0, 0.0, 0.0, -1.0)]])
    check_shapes(torch.empty(1, 2 * 85, 3, 4), edges, 2, 80)
    check_values(edges, 80)
    check_values(torch.zeros(1, 0, 5), 80)


def test_the_first_that_is_wrong_is_named() -> None:
    truths = torch.full((3, 4, 5), 0.5)
    truths[..., 4] = 1
    truths[1, 2, 2], truths[2, 0, 0] = 300.0, torch.inf
    with pytest.raises(ValueError, match=r"truths\[1, 2\]=\(0.5 0.5 300 0.5 1\): expected .* a class of 0..19"):
        check_values(truths, 20)


def test_anchors_are_checked_against_the_input_where_it_is_known() -> None:
    assert check_anchors([(3.0, 4.0)], None).tolist() == [[3.0, 4.0]]
    with pytest.raises(ValueError, match="look like grid cells"):
        check_anchors([(3.0, 4.0)], 416)
