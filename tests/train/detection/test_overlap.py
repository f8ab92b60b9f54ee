"""Overlaps against plain arithmetic on one pair of boxes."""

import math
from collections.abc import Callable

import pytest
import torch

from tests.oracle import overlap
from train.detection.overlap import best_iou, complete_iou, generalized_iou, iou, shape_iou


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


@pytest.mark.parametrize(
    ("other", "generalized", "complete"),
    [
        ((0, 0, 2, 2), 1.0, 1.0),  # corners of the box: (-1, -1) to (1, 1)
        ((1, 0, 2, 2), 2 / 6, 2 / 6 - 1 / (9 + 4)),  # moved by half its width; the box around both is 3 x 2
        ((4, 0, 2, 2), 0 - (12 - 8) / 12, 0 - 16 / (36 + 4)),  # apart
        ((0, 0, 2, 1), 1 / 2, None),  # half as high: angles 45 and atan(2) degrees
    ],
)
def test_generalized_and_complete_iou_by_hand(
    other: tuple[float, ...], generalized: float, complete: float | None
) -> None:
    box, second = torch.tensor([0.0, 0, 2, 2]), torch.tensor(other, dtype=torch.float32)
    if complete is None:
        shapes = 4 / math.pi**2 * (math.atan(1) - math.atan(2)) ** 2
        complete = 0.5 - shapes**2 / (0.5 + shapes)
    for one, two in ((box, second), (second, box)):
        assert generalized_iou(one, two).item() == pytest.approx(generalized)
        assert complete_iou(one, two).item() == pytest.approx(complete)


@pytest.mark.parametrize("overlap", [generalized_iou, complete_iou])
def test_boxes_apart_are_drawn_together(overlap: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
    """Where IoU has no gradient."""
    box, goal = torch.tensor([0.2, 0.2, 0.1, 0.1], requires_grad=True), torch.tensor([0.8, 0.6, 0.2, 0.1])
    for _ in range(400):
        (gradient,) = torch.autograd.grad(overlap(box, goal), box)
        box = (box + 0.01 * gradient).detach().requires_grad_()
    assert iou(box, goal).item() > 0.5


def test_shapes_are_compared_around_one_centre() -> None:
    found = shape_iou(torch.tensor([[[2.0, 2.0], [1.0, 4.0]]]), torch.tensor([[2.0, 2.0], [4.0, 1.0]]))
    torch.testing.assert_close(found, torch.tensor([[[1.0, 2 / 6], [2 / 6, 1 / 7]]]))


def test_free_slots_are_no_truths() -> None:
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]]])
    truths = torch.tensor([[[0.5, 0.5, 0.2, 0.2, -1.0], [0.1, 0.1, 0.1, 0.2, 3.0]]])
    torch.testing.assert_close(best_iou(boxes, truths), torch.tensor([[0.0, 0.5]]))
    assert best_iou(boxes, truths[:, :1]).max() == 0
