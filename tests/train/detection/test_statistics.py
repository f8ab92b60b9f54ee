"""Statistics of the region layer, counted by hand; the loss's tests compare them with darknet's own line."""

import torch

from train.detection.head import read_head
from train.detection.statistics import region_statistics


def test_a_truth_whose_prediction_another_one_won_is_counted_too() -> None:
    """Zero logits: every box is its anchor in the middle of its cell, objectness is 1/2, three classes are alike."""
    anchors = torch.tensor([[1.0, 1.0], [3.0, 2.0]])
    head = read_head(torch.zeros(2, 2 * 8, 4, 4), anchors)
    box = [0.375, 0.625, 3 / 4, 2 / 4]
    truths = torch.tensor([[[*box, 1], [*box, 2], [0, 0, 0, 0, -1]], [[0.0, 0, 0, 0, -1]] * 3])
    counted, iou, recall, class_score, object_score, everywhere = region_statistics(head, truths, anchors)
    expected = torch.tensor([2.0, 2.0, 2.0, 2 / 3, 1.0, 1.0]) / 2  # means over the two images
    torch.testing.assert_close(torch.stack([counted, iou, recall, class_score, object_score, everywhere]), expected)
