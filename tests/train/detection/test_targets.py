"""Assignment of truths to anchors, case by case; the loss's tests compare it with darknet as a whole."""

import torch

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
