"""Boxes on pictures."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from data.view.drawing import BLACK, GREY, LEGEND_PX, WHITE, class_colour, draw_boxes, draw_dashed, draw_truths, legend

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


def test_the_best_detection_is_on_top() -> None:
    boxes = np.array([[20.0, 40.0, 60.0, 90.0]] * 2)
    for scores in ([0.9, 0.5], [0.5, 0.9]):
        best = int(np.argmax(scores))
        assert tuple(draw_boxes(grey(), boxes, np.array([0, 2]), np.array(scores), CLASSES)[65, 20]) == class_colour(
            [0, 2][best]
        )


def test_names_are_readable_on_every_colour() -> None:
    """The letters are as light as the plate is dark, or the other way round."""
    for label in range(20):
        plate = np.dot(class_colour(label), (0.299, 0.587, 0.114))
        drawn = draw_boxes(grey(), np.array([[20.0, 40.0, 150.0, 90.0]]), np.array([label]), np.ones(1), ("WWW",) * 20)
        letters = drawn[28:40, 22:50] @ (0.299, 0.587, 0.114)
        assert np.abs(letters - plate).max() > 100


def test_truths_beside_detections_are_dashed_and_named_below() -> None:
    boxes = np.array([[20.0, 40.0, 60.0, 90.0], [90.0, 10.0, 150.0, 60.0]])
    drawn = draw_dashed(grey(), boxes, np.array([0, 1]), np.array([False, True]), CLASSES)
    edge = {tuple(pixel) for pixel in drawn[45:85, 20].tolist()}
    assert edge == {WHITE, BLACK}
    assert (drawn[95:104, 22:50] == WHITE).all(-1).mean() > 0.4 and (drawn[20:38, 15:70] == 60).all()
    assert (drawn[65:74, 92:130] == GREY).all(-1).mean() > 0.3  # finding it is neither right nor wrong


def test_the_legend_shows_both_lines() -> None:
    line = legend(400, "truth", "found", "000012")
    assert line.shape == (LEGEND_PX, 400, 3)
    middle = line[LEGEND_PX // 2]
    assert (middle == class_colour(0)).all(-1).sum() >= 20  # solid
    white = (middle[:27] == WHITE).all(-1)
    assert white.any() and not white.all() and (np.diff(white.astype(int)) == 1).sum() == 2  # two dashes
    assert legend(60, "truth", "found", "a very long title").shape == (LEGEND_PX, 60, 3)


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
    one = np.array([1])
    for drawn in (
        draw_boxes(grey(), np.array([box]), one, np.array([0.9]), CLASSES),
        draw_dashed(grey(), np.array([box]), one, one == 0, CLASSES),
    ):
        assert drawn.shape == (120, 160, 3)


def test_a_label_at_the_upper_border_stays_readable() -> None:
    drawn = draw_boxes(grey(), np.array([[10.0, -5.0, 100.0, 60.0]]), np.array([0]), np.ones(1), CLASSES)
    assert (drawn[0:10, 12:40] != 60).any(-1).mean() > 0.9


def test_no_boxes_leave_a_copy() -> None:
    image = grey()
    drawn = draw_boxes(image, np.zeros((0, 4)), np.zeros(0, int), np.zeros(0), CLASSES)
    assert (drawn == image).all() and not np.shares_memory(drawn, image)


def test_views_and_read_only_pictures_can_be_drawn_on() -> None:
    image = grey()[:, ::-1]
    image.flags.writeable = False
    for draw, last in ((draw_boxes, np.ones(1)), (draw_dashed, np.zeros(1, bool))):
        assert (draw(image, np.array([[20.0, 40.0, 60.0, 90.0]]), np.array([0]), last, CLASSES) != 60).any()


# ----------------------------------------------------------------------------------------------------------- truths


def truths(
    image: np.ndarray, boxes: list[list[float]], labels: list[int], difficult: str = "", crowd: str = ""
) -> np.ndarray:
    """difficult, crowd: one letter for each object, "x" where it is."""
    marks = [np.array([mark == "x" for mark in which.ljust(len(boxes))], np.bool_) for which in (difficult, crowd)]
    return draw_truths(image, np.array(boxes).reshape(-1, 4), np.array(labels, np.int16), *marks, CLASSES)


def test_truths_have_the_colour_and_the_name_of_their_class() -> None:
    image = grey()
    drawn = truths(image, [[20, 40, 60, 90], [90, 50, 140, 100]], [0, 2])
    assert (image == 60).all()
    assert tuple(drawn[90, 40]) == class_colour(0) and tuple(drawn[70, 90]) == class_colour(2)
    for plate, label in ((drawn[28:40, 22:40], 0), (drawn[38:50, 92:110], 2)):
        assert (plate == class_colour(label)).all(-1).any() and (plate.astype(int).sum(-1) < 60).any()


@pytest.mark.parametrize("marks", [{"difficult": "x"}, {"crowd": "x"}, {"difficult": "x", "crowd": "x"}])
def test_truths_that_are_not_trained_on_are_dashed(marks: dict[str, str]) -> None:
    drawn = truths(grey(), [[20, 40, 150, 90]], [0], **marks)
    lower = drawn[90, 20:150]
    assert {tuple(pixel) for pixel in lower.tolist()} == {GREY, BLACK}
    assert 0.4 < (lower == GREY).all(-1).mean() < 0.6
    assert not (drawn == class_colour(0)).all(-1).any()


def test_the_reason_is_written() -> None:
    box = [[20.0, 40.0, 150.0, 90.0]]
    difficult, crowd, both = (truths(grey(), box, [0], d, c) for d, c in (("x", ""), ("", "x"), ("x", "x")))
    assert (difficult != crowd).any() and (crowd == both).all()
    assert len(set(map(bytes, (truths(grey(), box, [0]), difficult, crowd)))) == 3
    plates = [(drawn[27] == colour).all(-1).sum() for drawn, colour in ((crowd, GREY), (difficult, GREY))]
    assert truths(grey(), box, [0])[27, 20:].tolist().count(list(class_colour(0))) < plates[0] < plates[1]


def test_names_of_truths_do_not_cover_each_other() -> None:
    """Five objects in a heap: all boxes are drawn, one name above them, one below."""
    boxes = [[30 + 2 * number, 50 + 2 * number, 90 + 2 * number, 80 + 2 * number] for number in range(5)]
    drawn, alone = truths(grey(), boxes, [0] * 5), truths(grey(), boxes[:1], [0])
    np.testing.assert_array_equal(drawn[30:50, 30:70], alone[30:50, 30:70])
    assert all(tuple(drawn[70, 30 + 2 * number]) == class_colour(0) for number in range(5))
    assert (drawn[92:] != 60).any()


def test_names_stay_inside_the_picture() -> None:
    drawn = truths(grey(), [[140, -5, 159, 10], [140, 110, 159, 119]], [2, 0])
    for label in (2, 0):
        assert (drawn == class_colour(label)).all(-1)[:, :138].any()  # wider than the box: moved to the left, not cut


def test_truths_beyond_the_picture_and_none_at_all() -> None:
    assert (truths(grey(), [[500, 500, 600, 600]], [1]) == 60).all(-1).mean() > 0.95
    assert (truths(grey(), [], []) == 60).all()


def test_twenty_classes_have_colours_that_can_be_told_apart() -> None:
    colours = np.array([class_colour(label) for label in range(20)])
    assert min(np.abs(a - b).max() for a, b in combinations(colours, 2)) >= 30
    assert min(np.abs(a - b).max() for a, b in pairwise(colours)) >= 150


def test_names_of_detections_do_not_cover_one_another_and_can_be_left_out() -> None:
    boxes = np.array([[20.0, 40.0, 60.0, 90.0]] * 3)
    labels, scores = np.array([0, 1, 2]), np.array([0.9, 0.8, 0.7])
    both = draw_boxes(grey(), boxes, labels, scores, CLASSES)
    two = draw_boxes(grey(), boxes[:2], labels[:2], scores[:2], CLASSES)
    assert np.array_equal(both, two)  # above and below the box; there is no third place
    bare = draw_boxes(grey(), boxes, labels, scores, CLASSES, named=False)
    assert (bare != grey()).any(-1).sum() < (both != grey()).any(-1).sum()
