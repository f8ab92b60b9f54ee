"""Boxes on pictures."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from data.draw import class_colour, draw_boxes

CLASSES = ("circle", "square", "star")


def grey(height: int = 120, width: int = 160) -> np.ndarray:
    return np.full((height, width, 3), 60, np.uint8)


def test_boxes_and_labels_are_drawn_in_the_colour_of_their_class_and_the_input_stays() -> None:
    image = grey()
    boxes = np.array([[20.0, 40.0, 60.0, 90.0], [90.4, 50.0, 140.0, 100.0]])
    drawn = draw_boxes(image, boxes, np.array([0, 2]), np.array([0.87, 0.5]), CLASSES)
    assert (image == 60).all()
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    assert tuple(drawn[90, 40]) == class_colour(0) and tuple(drawn[70, 90]) == class_colour(2)
    assert (drawn[45:85, 25:55] == 60).all()  # the inside of a box stays as it was
    label = drawn[28:40, 20:60].reshape(-1, 3)
    assert (label == class_colour(0)).all(1).any() and (label.astype(int).sum(1) < 60).any()  # dark letters on colour


def test_scores_may_be_left_out() -> None:
    arguments = grey(), np.array([[20.0, 40.0, 100.0, 90.0]]), np.array([1])
    assert (draw_boxes(*arguments, None, CLASSES) != draw_boxes(*arguments, np.array([0.5]), CLASSES)).any()


def test_truths_are_thin_and_white() -> None:
    drawn = draw_boxes(grey(), np.array([[20.0, 40.0, 60.0, 90.0]]), None, None, CLASSES)
    changed = (drawn != 60).any(-1)
    assert (drawn[changed] == 255).all()
    assert changed.sum() == 2 * 41 + 2 * 51 - 4  # the outline of 41 x 51 pixels, one pixel wide


@pytest.mark.parametrize(
    "box",
    [
        [-30.0, -20.0, 50.0, 50.0],
        [100.0, 80.0, 400.0, 300.0],
        [-10.0, -10.0, 300.0, 300.0],
        [500.0, 500.0, 600.0, 600.0],
        [30.0, 30.0, 30.0, 30.0],
        [0.0, 0.0, 160.0, 120.0],
    ],
)
def test_boxes_beyond_the_picture_are_drawn_as_far_as_they_go(box: list[float]) -> None:
    for labels in (np.array([1]), None):
        drawn = draw_boxes(grey(), np.array([box]), labels, np.array([0.9]), CLASSES)
        assert drawn.shape == (120, 160, 3)


def test_a_label_at_the_upper_border_stays_readable() -> None:
    drawn = draw_boxes(grey(), np.array([[10.0, -5.0, 100.0, 60.0]]), np.array([0]), None, CLASSES)
    assert (drawn[0:10, 12:40] != 60).any(-1).mean() > 0.9


def test_no_boxes_leave_a_copy() -> None:
    image = grey()
    drawn = draw_boxes(image, np.zeros((0, 4)), np.zeros(0, int), np.zeros(0), CLASSES)
    assert (drawn == image).all() and not np.shares_memory(drawn, image)


def test_views_and_read_only_pictures_can_be_drawn_on() -> None:
    image = grey()[:, ::-1]
    image.flags.writeable = False
    assert (draw_boxes(image, np.array([[20.0, 40.0, 60.0, 90.0]]), None, None, CLASSES) == 255).any()


def test_twenty_classes_have_colours_that_can_be_told_apart() -> None:
    colours = np.array([class_colour(label) for label in range(20)])
    assert min(np.abs(a - b).max() for a, b in combinations(colours, 2)) >= 30
    assert min(np.abs(a - b).max() for a, b in pairwise(colours)) >= 150
