"""A drawn picture: boxes are where the coloured pixels are."""

import numpy as np
import pytest

from data.sources.drawn_picture import CLASSES, background, draw, paint, place


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("centre_px", [(60.3, 50.8), (4.5, 66.0), (97.2, 1.4)])
def test_box_is_that_of_the_coloured_pixels(name: str, centre_px: tuple[float, float]) -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        matrix = rng.uniform(-30, 30, (2, 2))
        shape = place(name, matrix, np.array(centre_px), (100, 80), False)
        if shape is None:
            continue
        canvas = np.full((80, 100, 3), 128.0, np.float32)
        paint(canvas, shape, rng)
        changed = np.abs(canvas - 128).max(-1) > 0
        rows, columns = np.flatnonzero(changed.any(1)) + 1, np.flatnonzero(changed.any(0)) + 1
        assert shape.box == (columns[0], rows[0], columns[-1], rows[-1])
        for edge in (shape.alpha[0], shape.alpha[-1], shape.alpha[:, 0], shape.alpha[:, -1]):
            assert edge.max() >= 0.5


def test_box_of_a_square_is_where_geometry_says() -> None:
    half = np.eye(2) * 10 * np.sqrt(2) @ np.array([[1, -1], [1, 1]]) / np.sqrt(2)  # side 20 px, edges upright
    shape = place("square", half, np.array([50.0, 40.0]), (100, 80), False)
    assert shape is not None
    assert shape.box == (41, 31, 60, 50)  # continuous edges 40..60, 30..50
    assert shape.inside == 1
    cut = place("square", half, np.array([0.0, 40.0]), (100, 80), False)
    assert cut is not None
    assert cut.box == (1, 31, 10, 50)
    assert cut.inside == pytest.approx(0.5, abs=0.02)


def test_nothing_is_placed_outside_or_too_small() -> None:
    assert place("circle", np.eye(2) * 20, np.array([150.0, 40.0]), (100, 80), False) is None
    assert place("circle", np.eye(2) * 20, np.array([-300.0, -300.0]), (100, 80), False) is None
    assert place("circle", np.eye(2), np.array([50.0, 40.0]), (100, 80), False) is None


def test_objects_stay_visible_and_differ_from_the_background() -> None:
    difficult = 0
    for number in range(150):
        image, shapes = draw(np.random.default_rng(number))
        assert 1 <= len(shapes) <= 6
        owner = np.full(image.shape[:2], -1)
        for index, shape in enumerate(shapes):
            owner[shape.window][shape.alpha >= 0.5] = index
            difficult += shape.difficult
        for index, shape in enumerate(shapes):
            assert (owner == index).sum() >= 0.5 * (shape.alpha >= 0.5).sum()
            assert shape.inside >= 0.4
    assert 3 <= difficult <= 60


def test_background_has_no_flat_picture() -> None:
    canvas = background(200, 100, np.random.default_rng(0))
    assert canvas.shape == (100, 200, 3) and canvas.std((0, 1)).min() > 1


def test_only_the_classes_asked_for() -> None:
    names = {shape.name for number in range(20) for shape in draw(np.random.default_rng(number), ["ring", "star"])[1]}
    assert names == {"ring", "star"}
