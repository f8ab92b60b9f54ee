"""Decoding and suppression against darknet's own detections."""

from pathlib import Path

import numpy as np
import pytest
import torch

from data.images.boxes import cxcywh_from_xyxy
from train.detection.head import detections, read_head


def unletterbox(boxes_cxcywh: np.ndarray, grid: int) -> np.ndarray:
    """Fractions of the square -> of a 500x375 image, as darknet's correct_region_boxes: in whole cells of the grid."""
    zoom = np.array([1.0, grid / (grid * 375 // 500)])
    centre = (boxes_cxcywh[:, :2] - 0.5) * zoom + 0.5
    offset = (grid - grid * 375 // 500) / 2 / grid - (1 - 1 / zoom[1]) / 2
    return np.concatenate([centre - [0, offset], boxes_cxcywh[:, 2:] * zoom], axis=1)


@pytest.mark.parametrize("case", ["voc", "coco"])
@pytest.mark.parametrize(("nms", "iou_threshold"), [("0", 1.0), ("0.45", 0.45)])
def test_detections_equal_darknets_as_sets(shared: Path, case: str, nms: str, iou_threshold: float) -> None:
    golden = np.load(shared / "golden/darknet" / f"region_{case}.npz")
    expected = golden[f"detections_nms{nms}"]
    raw, anchors = torch.from_numpy(golden["logits"])[:1], torch.from_numpy(golden["anchors"]).float()
    found = detections(raw, anchors, score_threshold=0.003, iou_threshold=iou_threshold)[0]
    boxes = unletterbox(cxcywh_from_xyxy(found.boxes_xyxy), raw.shape[-1])
    assert np.array_equal(np.bincount(found.labels), np.bincount(expected[:, 0].astype(int)))
    for label in np.unique(found.labels):
        mine = np.column_stack([found.scores, boxes])[found.labels == label]
        theirs = expected[expected[:, 0] == label, 1:]
        distance = np.abs(mine[:, None] - theirs[None]).max(-1)
        assert np.array_equal(np.sort(distance.argmin(1)), np.arange(len(theirs)))  # one to one
        assert distance.min(1).max() < 1e-4


def test_a_cell_and_an_anchor_decode_to_the_box_of_the_paper() -> None:
    anchors = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    raw = torch.zeros(1, 2 * 8, 5, 7)  # H 5, W 7, 3 classes
    raw[0, 8 + 2, 3, 2] = np.log(2)  # anchor 1, tw
    box = read_head(raw, anchors).boxes_cxcywh_BAHW4[0, 1, 3, 2]
    torch.testing.assert_close(box, torch.tensor([2.5 / 7, 3.5 / 5, 6 / 7, 4 / 5]))


def test_the_best_of_each_image_are_kept() -> None:
    raw, anchors = torch.randn(3, 2 * 9, 6, 6, generator=torch.Generator().manual_seed(0)), torch.ones(2, 2)
    every = detections(raw, anchors, score_threshold=0.005, iou_threshold=0.45)
    for found, best in zip(
        every, detections(raw, anchors, score_threshold=0.005, iou_threshold=0.45, max_detections=7), strict=True
    ):
        assert len(found.scores) > 7 and (np.diff(found.scores) <= 0).all()
        for column, first in zip(found, best, strict=True):
            assert np.array_equal(column[:7], first)


def test_a_network_that_has_diverged_is_an_error() -> None:
    raw = torch.zeros(3, 2 * 9, 4, 4)
    raw[1, :, 2, 2] = torch.nan
    with pytest.raises(ValueError, match=r"found nan in 1 of 3 images; it has diverged: go back to an earlier"):
        detections(raw, torch.ones(2, 2), score_threshold=0.005, iou_threshold=0.45)
    raw[1, :, 2, 2] = 1e30  # an infinite size has an answer
    found = detections(raw, torch.ones(2, 2), score_threshold=0.005, iou_threshold=0.45)
    assert all(np.isfinite(each.boxes_xyxy).all() for each in found)


def test_nothing_found_is_an_empty_answer() -> None:
    raw = torch.full((2, 5 * 8, 3, 3), -20.0)
    for found in detections(raw, torch.ones(5, 2), score_threshold=0.005, iou_threshold=0.45):
        assert found.boxes_xyxy.shape == (0, 4) and len(found.labels) == len(found.scores) == 0
