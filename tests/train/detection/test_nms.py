"""Suppression leaves what a plain loop leaves, ties included."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from data.images.boxes import iou
from train.detection import nms
from train.detection.head import candidates
from train.detection.nms import prepare, suppress


def plain_loop(boxes_xyxy, scores, threshold):
    """One image and class: which boxes stay."""
    kept = []
    for box in np.argsort(-scores, kind="stable"):
        if scores[box] and all(iou(boxes_xyxy[other], boxes_xyxy[box]) <= threshold for other in kept):
            kept.append(int(box))
    return kept


def assert_as_the_plain_loop(boxes, scores, threshold):
    found = suppress(torch.from_numpy(boxes), torch.from_numpy(scores), threshold)
    for image in range(scores.shape[0]):
        for label in range(scores.shape[2]):
            mine = (found.images == image) & (found.labels == label)
            assert found.boxes[mine].tolist() == plain_loop(boxes[image], scores[image, :, label], threshold)
    assert np.array_equal(found.scores, scores[found.images, found.boxes, found.labels])
    rows = list(zip(found.images, -found.scores, found.labels, found.boxes, strict=True))
    assert rows == sorted(rows)


def random_case(rng, batch, num, classes, grid, levels):
    """Corners on a coarse grid and few scores: ties of every kind, IoUs at the threshold, equal and empty boxes."""
    corner = rng.integers(0, grid, (batch, num, 2))
    boxes = np.concatenate([corner, corner + rng.integers(0, grid, (batch, num, 2))], axis=2).astype(np.float32)
    scores = rng.integers(0, levels, (batch, num, classes)).astype(np.float32) / levels
    return boxes, scores * (rng.random((batch, 1, 1)) < 0.8)  # of some images none is a candidate


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 70), st.integers(1, 3),
    st.sampled_from([3, 6, 1000]), st.sampled_from([2, 4, 10_000]), st.sampled_from([0.0, 0.25, 0.45, 0.5, 1.0]),
)  # fmt: skip
def test_as_a_plain_loop(seed, batch, num, classes, grid, levels, threshold):
    assert_as_the_plain_loop(*random_case(np.random.default_rng(seed), batch, num, classes, grid, levels), threshold)


@pytest.mark.parametrize("pairs", [1, 300, 200_000])
def test_in_parts_of_any_size(pairs, monkeypatch):
    """More boxes than a word has bits; parts of rows, of an image, of several images."""
    monkeypatch.setitem(nms.PAIRS_AT_ONCE, "cpu", pairs)
    assert_as_the_plain_loop(*random_case(np.random.default_rng(0), 5, 150, 2, 40, 50), 0.45)


def test_no_candidates():
    found = suppress(torch.rand(2, 30, 4), torch.zeros(2, 30, 3), 0.45)
    assert [len(column) for column in found] == [0, 0, 0, 0]


def test_half_a_million_candidates_of_one_image_fit_in_memory():
    """6,250 boxes of 80 classes. A bit for each pair of boxes is 5 MB, for each pair of candidates 31 GB."""
    rng = np.random.default_rng(1)
    boxes, _ = random_case(rng, 1, 6_250, 80, 400, 10**6)
    scores = rng.random((1, 6_250, 80), np.float32)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = memory_mb("VmRSS")
    found = suppress(torch.from_numpy(boxes), torch.from_numpy(scores), 0.45)
    assert memory_mb("VmHWM") - before < 150
    mine = found.boxes[found.labels == 79]
    assert 300 < len(mine) < 5_000
    overlaps = np.triu(iou(boxes[0, mine][:, None], boxes[0, mine]), 1)
    assert overlaps.max() <= 0.45  # what is left; and what went has a better neighbour that is left
    gone = np.setdiff1d(np.arange(6_250), mine)
    better = scores[0, mine, 79][None] >= scores[0, gone, 79][:, None]
    assert ((iou(boxes[0, gone][:, None], boxes[0, mine]) > 0.45) & better).any(1).all()


def memory_mb(field):
    return int(re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]) / 1024


@pytest.mark.gpu
def test_the_same_on_the_device():
    boxes, scores = map(torch.from_numpy, random_case(np.random.default_rng(1), 8, 845, 20, 60, 1000))
    here, there = suppress(boxes, scores, 0.45), suppress(boxes.cuda(), scores.cuda(), 0.45)
    for one, other in zip(here, there, strict=True):
        assert np.array_equal(one, other)


def test_nothing_waits_for_the_device_before_the_walk():
    """Tensors without numbers: an operator that asked for one, or for a shape that depends on one, would raise."""
    raw, anchors = torch.empty(4, 5 * 25, 13, 13, device="meta"), torch.empty(5, 2, device="meta")
    boxes, scores = candidates(raw, anchors, 0.005)
    prepared = prepare(boxes, scores, 0.45)
    assert {tensor.device.type for tensor in prepared} == {"meta"}
    assert prepared.overlaps_BNW.shape == (4, 845, 14) and prepared.scores_GN.shape == (80, 845)
    for look in (lambda: int((scores != 0).sum()), lambda: scores.nonzero()):
        with pytest.raises((RuntimeError, NotImplementedError)):
            look()
