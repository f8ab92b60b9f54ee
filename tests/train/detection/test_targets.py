"""Assignment of truths to anchors, case by case; the loss's tests compare it with darknet as a whole."""

import pytest
import torch

from tests.oracle import overlap
from train.detection.targets import Targets, assign, dense_target, from_dense

ANCHORS = torch.tensor([[1.0, 1.0], [2.0, 4.0], [4.0, 2.0]])


def assign_one(*truths: tuple[float, float, float, float, float], height: int = 5, width: int = 7) -> Targets:
    return assign(torch.tensor([truths]), ANCHORS, height, width)


def places(targets: Targets) -> list[list[int]]:
    """[image, anchor, row, column] of every responsible anchor."""
    return targets.responsible_BAHW.nonzero().tolist()


def test_the_cell_is_where_the_centre_lies_and_the_anchor_the_nearest_shape() -> None:
    targets = assign_one((0.5, 0.5, 2.1 / 7, 3.9 / 5, 2))
    assert places(targets) == [[0, 1, 2, 3]]
    assert targets.labels_BAHW[0, 1, 2, 3] == 2
    torch.testing.assert_close(targets.boxes_cxcywh_BAHW4[0, 1, 2, 3], torch.tensor([0.5, 0.5, 2.1 / 7, 3.9 / 5]))


def test_the_first_anchor_wins_a_tie() -> None:
    twice = torch.tensor([[2.0, 2.0], [2.0, 2.0]])
    targets = assign(torch.tensor([[(0.5, 0.5, 0.2, 0.2, 0)]]), twice, 7, 7)
    assert places(targets) == [[0, 0, 3, 3]]


def test_of_two_truths_in_one_place_the_later_wins_entirely() -> None:
    targets = assign_one((0.5, 0.5, 0.14, 0.2, 0), (0.51, 0.51, 0.15, 0.21, 1))
    assert places(targets) == [[0, 0, 2, 3]]
    assert targets.labels_BAHW[0, 0, 2, 3] == 1
    torch.testing.assert_close(targets.boxes_cxcywh_BAHW4[0, 0, 2, 3, 0], torch.tensor(0.51))


def test_a_centre_on_the_far_border_belongs_to_the_last_cell() -> None:
    assert places(assign_one((1.0, 1.0, 0.1, 0.1, 0))) == [[0, 0, 4, 6]]


def test_free_slots_leave_no_trace() -> None:
    targets = assign_one((0.0, 0.0, 0.0, 0.0, -1), (0.5, 0.5, 0.1, 0.1, 0), (0.0, 0.0, 0.0, 0.0, -1))
    assert places(targets) == [[0, 0, 2, 3]]
    assert places(assign_one((0.0, 0.0, 0.0, 0.0, -1))) == []


def test_dense_targets_go_there_and_back() -> None:
    targets = assign_one((0.2, 0.3, 0.1, 0.1, 1), (0.7, 0.6, 0.3, 0.8, 3))
    dense = dense_target(targets, num_classes=4)
    assert dense.shape == (1, 5, 7, 3, 9)
    assert dense[..., 4].sum() == 2 and dense[..., 5:].sum() == 2
    again = from_dense(dense)
    mine = targets.responsible_BAHW
    assert torch.equal(again.responsible_BAHW, mine)
    assert torch.equal(again.boxes_cxcywh_BAHW4[mine], targets.boxes_cxcywh_BAHW4[mine])
    assert torch.equal(again.labels_BAHW[mine], targets.labels_BAHW[mine])


def test_further_anchors_of_a_near_shape_answer_too_but_never_against_a_nearest_one() -> None:
    """Shapes 1x1, 2x4, 4x2 in cells. A 2x2 truth overlaps them by 1/4, 1/2 and 1/2."""
    square, tall = (0.5, 0.5, 2 / 7, 2 / 5, 0.0), (0.51, 0.51, 2 / 7, 4 / 5, 1.0)

    def found(*truths: tuple[float, ...], anchor_iou: float) -> dict[int, int]:
        targets = assign(torch.tensor([truths]), ANCHORS, 5, 7, anchor_iou=anchor_iou)
        return {row[1]: int(targets.labels_BAHW[tuple(row)]) for row in targets.responsible_BAHW.nonzero().tolist()}

    assert found(square, anchor_iou=1.0) == {1: 0}
    assert found(square, anchor_iou=0.45) == {1: 0, 2: 0}
    assert found(square, anchor_iou=0.2) == {0: 0, 1: 0, 2: 0}
    assert found(tall, square, anchor_iou=0.45) == {1: 0, 2: 0}  # of two nearest ones the later
    wide = (0.51, 0.51, 4 / 7, 2 / 5, 1.0)
    assert found(wide, square, anchor_iou=0.45) == {1: 0, 2: 1}  # square is nearest to 1, wide to 2
    assert found((0.0, 0.0, 0.0, 0.0, -1.0), anchor_iou=0.0) == {}


@pytest.mark.parametrize("anchor_iou", [1.0, 0.6, 0.3, 0.0])
def test_assignment_is_that_of_plain_loops(anchor_iou: float) -> None:
    generator = torch.Generator().manual_seed(0)
    truths = torch.rand(5, 12, 5, generator=generator)
    truths[..., 2:4] = truths[..., 2:4] * 0.7 + 0.02
    truths[..., 4] = (truths[..., 4] * 4).floor() - 1  # classes 0 to 2, a quarter of the slots free
    targets = assign(truths, ANCHORS, 3, 4, anchor_iou=anchor_iou)
    for image, rows in enumerate(truths.tolist()):
        won = {}
        for nearest in (False, True):
            for cx, cy, w, h, label in rows:
                shapes = [overlap((0, 0, w * 4, h * 3), (0, 0, *anchor)) for anchor in ANCHORS.tolist()]
                for anchor, shape in enumerate(shapes):
                    if label >= 0 and (anchor == shapes.index(max(shapes)) if nearest else shape > anchor_iou):
                        won[anchor, int(cy * 3), int(cx * 4)] = (cx, cy, w, h, label)
        found = {tuple(where) for where in targets.responsible_BAHW[image].nonzero().tolist()}
        assert found == set(won)
        for where, truth in won.items():
            assert (*targets.boxes_cxcywh_BAHW4[image][where].tolist(), targets.labels_BAHW[image][where]) == truth
