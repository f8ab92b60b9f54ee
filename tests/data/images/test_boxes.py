"""Box frames: there and back, clipping, overlap."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from data.images.boxes import clip, clip_boxes, cxcywh_from_xyxy, iou, xyxy_from_cxcywh


@st.composite
def boxes_xyxy(draw: st.DrawFn, min_size: float = 0.0) -> NDArray[np.float64]:
    """[1..6, 4], corners in order."""
    coordinate = st.floats(-50, 700, width=32)
    size = st.floats(min_size, 400, width=32)
    count = draw(st.integers(1, 6))
    rows = [(draw(coordinate), draw(coordinate), draw(size), draw(size)) for _ in range(count)]
    return np.array([(x, y, x + w, y + h) for x, y, w, h in rows], np.float64)


@given(boxes_xyxy())
def test_centres_and_corners_go_there_and_back(boxes: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(xyxy_from_cxcywh(cxcywh_from_xyxy(boxes)), boxes, atol=1e-9)


def test_centre_and_size_of_a_known_box() -> None:
    box = np.array([[10.0, 20.0, 40.0, 80.0]])
    np.testing.assert_array_equal(cxcywh_from_xyxy(box), [[25, 50, 30, 60]])
    np.testing.assert_array_equal(xyxy_from_cxcywh(np.array([[25.0, 50.0, 30.0, 60.0]])), box)


def test_leading_dimensions_are_kept() -> None:
    boxes = np.random.default_rng(0).random((2, 3, 4)).astype(np.float32)
    assert cxcywh_from_xyxy(boxes).shape == xyxy_from_cxcywh(boxes).shape == (2, 3, 4)
    assert cxcywh_from_xyxy(boxes).dtype == np.float32
    assert cxcywh_from_xyxy(boxes[:0]).shape == (0, 3, 4)


@given(boxes_xyxy(), boxes_xyxy())
def test_overlap_is_symmetric_and_between_0_and_1(a: NDArray[np.float64], b: NDArray[np.float64]) -> None:
    overlap = iou(a[:, None], b)
    assert overlap.shape == (len(a), len(b))
    np.testing.assert_allclose(overlap, iou(b[:, None], a).T)
    assert (overlap >= 0).all() and (overlap <= 1 + 1e-9).all()


@given(boxes_xyxy(min_size=0.125))
def test_a_box_overlaps_itself_by_1(boxes: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(iou(boxes, boxes), 1, rtol=1e-6)


def test_empty_boxes_and_boxes_that_only_touch_overlap_by_0() -> None:
    empty = np.array([[5.0, 5.0, 5.0, 9.0], [0.0, 0.0, 0.0, 0.0]])
    box = np.array([[0.0, 0.0, 10.0, 10.0]])
    np.testing.assert_array_equal(iou(empty[:, None], empty), np.zeros((2, 2)))
    np.testing.assert_array_equal(iou(empty, box), np.zeros(2))
    np.testing.assert_array_equal(iou(box, np.array([[10.0, 0.0, 20.0, 10.0]])), [0])
    assert iou(box[:0, None], box).shape == (0, 1)


def test_overlap_of_a_known_pair() -> None:
    a, b = np.array([[0.0, 0.0, 2.0, 2.0]]), np.array([[1.0, 1.0, 3.0, 3.0]])
    np.testing.assert_allclose(iou(a, b), 1 / 7)


@given(boxes_xyxy())
def test_clipped_boxes_lie_inside_and_boxes_inside_do_not_change(boxes: NDArray[np.float64]) -> None:
    clipped = clip(boxes, 500, 300)
    assert (clipped >= 0).all() and (clipped[:, [0, 2]] <= 500).all() and (clipped[:, [1, 3]] <= 300).all()
    np.testing.assert_array_equal(clip(clipped, 500, 300), clipped)
    inside = (boxes >= 0).all(1) & (boxes[:, 2] <= 500) & (boxes[:, 3] <= 300)
    np.testing.assert_array_equal(clipped[inside], boxes[inside])


def test_a_box_outside_becomes_empty() -> None:
    clipped = clip(np.array([[-30.0, 10.0, -5.0, 20.0], [510.0, 10.0, 520.0, 20.0]]), 500, 300)
    assert (clipped[:, 2] <= clipped[:, 0]).all()


def test_boxes_are_clipped_to_the_canvas_and_thin_ones_are_dropped() -> None:
    boxes = np.array(
        [[-0.5, 0.2, 0.5, 1.2], [1.1, 0, 1.5, 1], [0.2, 0.9995, 0.8, 1.4], [0.1, 0.1, 0.102, 0.2]], np.float32
    )
    clipped, kept = clip_boxes(boxes, 0.001)
    np.testing.assert_allclose(clipped[0], [0, 0.2, 0.5, 1])
    np.testing.assert_array_equal(kept, [True, False, False, True])
    assert clipped.dtype == np.float32
