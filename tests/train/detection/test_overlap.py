"""Overlaps against plain arithmetic on one pair of boxes."""

import pytest
import torch

from tests.oracle import overlap
from train.detection.overlap import best_iou, iou, shape_iou


def test_iou_is_that_of_one_pair_at_a_time() -> None:
    boxes = torch.rand(4, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    others = torch.rand(4, 1, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = iou(boxes, others)
    assert found.shape == (4, 3)
    for i in range(4):
        for j in range(3):
            assert found[i, j].item() == pytest.approx(
                overlap(tuple(boxes[i, j].tolist()), tuple(others[i, 0].tolist()))
            )


def test_boxes_without_area_overlap_nothing() -> None:
    assert iou(torch.zeros(1, 4), torch.zeros(1, 4)).item() == 0


def test_shapes_are_compared_around_one_centre() -> None:
    found = shape_iou(torch.tensor([[[2.0, 2.0], [1.0, 4.0]]]), torch.tensor([[2.0, 2.0], [4.0, 1.0]]))
    torch.testing.assert_close(found, torch.tensor([[[1.0, 2 / 6], [2 / 6, 1 / 7]]]))


def test_free_slots_are_no_truths() -> None:
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]]])
    truths = torch.tensor([[[0.5, 0.5, 0.2, 0.2, -1.0], [0.1, 0.1, 0.1, 0.2, 3.0]]])
    torch.testing.assert_close(best_iou(boxes, truths), torch.tensor([[0.0, 0.5]]))
    assert best_iou(boxes, truths[:, :1]).max() == 0
