"""Geometry: boxes move with their pixels."""

from typing import get_args

import numpy as np
import pytest

from data.images.augment import AugmentConfig, random_placement
from data.images.boxes import clip_boxes
from data.images.geometry import (
    GREY,
    Placement,
    Resize,
    darknet_letterbox,
    letterbox,
    place_boxes,
    place_image,
    stretch,
    unplace_boxes,
    whole_image,
)
from tests.data.pictures import canvas_of, generator, photograph

BRIGHT, DARK = 255, 30  # the middle of the two is above the grey of the canvas
SIZES = [(500, 375), (375, 500), (480, 480), (301, 97)]


# ------------------------------------------------------------------------------------------------ without chance


def test_letterbox_puts_the_whole_image_in_the_middle() -> None:
    assert letterbox(500, 375, 416) == Placement((0, 0, 500, 375), (0, 52, 416, 364))
    assert letterbox(375, 500, 416) == Placement((0, 0, 375, 500), (52, 0, 364, 416))
    assert letterbox(100, 100, 64) == Placement((0, 0, 100, 100), (0, 0, 64, 64))
    assert letterbox(4000, 2, 64) == Placement((0, 0, 4000, 2), (0, 31, 64, 32))  # at least one pixel


def test_stretch_fills_the_canvas() -> None:
    assert stretch(500, 375, 416) == Placement((0, 0, 500, 375), (0, 0, 416, 416))


def test_around_a_letterboxed_image_the_canvas_is_grey() -> None:
    canvas = canvas_of(64)
    place_image(np.full((32, 64, 3), 250, np.uint8), letterbox(64, 32, 64), canvas)
    assert (canvas[:16] == GREY).all() and (canvas[48:] == GREY).all() and (canvas[16:48] == 250).all()


def test_an_image_of_the_canvas_size_is_copied() -> None:
    image, canvas = photograph(64, 64), canvas_of(64)
    place_image(image, stretch(64, 64, 64), canvas)
    np.testing.assert_array_equal(canvas, image)
    place_image(image, stretch(64, 64, 64)._replace(flip=True), canvas)
    np.testing.assert_array_equal(canvas, image[:, ::-1])
    place_image(image, stretch(64, 64, 64)._replace(upside_down=True), canvas)
    np.testing.assert_array_equal(canvas, image[::-1])
    place_image(image, stretch(64, 64, 64)._replace(transposed=True), canvas)
    np.testing.assert_array_equal(canvas, image.transpose(1, 0, 2))
    place_image(image, stretch(64, 64, 64)._replace(transposed=True, flip=True), canvas)
    np.testing.assert_array_equal(canvas, np.rot90(image, -1))


@pytest.mark.parametrize(("width", "height"), [(5, 9), (9, 5), (12, 12), (1, 3), (20, 14), (20, 27)])
def test_darknets_resize_is_its_own_loop(width: int, height: int) -> None:
    """src/image.c, resize_image: first along the rows, then along the columns, in float. From 14 or 27 rows to 12 the
    last one lies just above the image's last in float, and is black."""
    side, image = 12, photograph(height, width)
    pixels, part, resized = image / 255, np.zeros((height, side, 3)), np.zeros((side, side, 3))
    x_scale, y_scale = (np.float32(length - 1) / np.float32(side - 1) for length in (width, height))
    for r in range(height):
        for c in range(side):
            x = np.float32(c) * x_scale
            last = c == side - 1 or width == 1
            dx = x - int(x)
            part[r, c] = pixels[r, -1] if last else (1 - dx) * pixels[r, int(x)] + dx * pixels[r, int(x) + 1]
    for r in range(side):
        y = np.float32(r) * y_scale
        resized[r] = (1 - (y - int(y))) * part[int(y)]
        if r < side - 1 and height > 1:
            resized[r] += (y - int(y)) * part[int(y) + 1]
    canvas = canvas_of(side)
    place_image(image, whole_image(width, height, side, "darknet-stretch"), canvas)
    assert np.abs(canvas - 255 * resized).max() <= 0.5 + 1e-3
    exact = np.empty((side, side, 3), np.float32)
    place_image(image, whole_image(width, height, side, "darknet-stretch"), exact)
    assert np.abs(exact - 255 * resized).max() <= 1e-3 and (exact[-1] < 1).all() == (height in (14, 27))


def test_darknets_letterbox_rounds_down() -> None:
    assert letterbox(500, 334, 224).target == (0, 37, 224, 187)
    assert darknet_letterbox(500, 334, 224).target == (0, 37, 224, 186)
    assert darknet_letterbox(334, 500, 224).target == (37, 0, 186, 224)
    assert darknet_letterbox(4000, 2, 64).target == (0, 31, 64, 32)


def test_darknets_boxes_end_in_their_last_pixel() -> None:
    placement = whole_image(100, 50, 64, "darknet-stretch")
    box = np.array([[10, 5, 21, 26]], np.float32)  # inclusive pixels 11 to 21 of VOC: 10 wide for darknet
    placed = place_boxes(box, placement, 64)
    np.testing.assert_allclose(placed, [[0.1, 0.1, 0.2, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(unplace_boxes(placed, placement, 64), box, rtol=1e-6)


def test_darknets_letterboxed_boxes_are_centred() -> None:
    """src/region_layer.c, correct_region_boxes: by half of what is too much, 37.5 px, though its pixels lie at 37."""
    placement = whole_image(500, 334, 224, "darknet-letterbox")
    box = np.array([[100, 50, 301, 151]], np.float32)
    placed = place_boxes(box, placement, 224)
    np.testing.assert_allclose(placed[:, [0, 2]], [[0.2, 0.6]], rtol=1e-6)
    np.testing.assert_allclose(placed[:, [1, 3]] * 224, [[37.5 + 50 / 334 * 149, 37.5 + 150 / 334 * 149]], rtol=1e-6)
    np.testing.assert_allclose(unplace_boxes(placed, placement, 224), box, rtol=1e-5)


def test_a_canvas_need_not_be_square() -> None:
    assert letterbox(500, 375, (416, 224)).target == (58, 0, 357, 224)
    assert darknet_letterbox(500, 375, (416, 224)).target == (59, 0, 357, 224)
    assert darknet_letterbox(375, 500, (224, 416)).target == (0, 59, 224, 357)
    assert stretch(500, 375, (416, 224)).target == (0, 0, 416, 224)
    box = np.array([[100, 75, 300, 225]], np.float32)
    np.testing.assert_allclose(place_boxes(box, stretch(500, 375, (416, 224)), (416, 224)), [[0.2, 0.2, 0.6, 0.6]])
    for resize in get_args(Resize):
        placement = whole_image(500, 375, (416, 224), resize)
        placed = place_boxes(box, placement, (416, 224))
        np.testing.assert_allclose(unplace_boxes(placed, placement, (416, 224)), box, rtol=1e-6)


def test_a_box_over_the_whole_image_covers_the_whole_target() -> None:
    whole = np.array([[0, 0, 500, 375]], np.float32)
    np.testing.assert_allclose(place_boxes(whole, stretch(500, 375, 416), 416), [[0, 0, 1, 1]])
    np.testing.assert_allclose(place_boxes(whole, letterbox(500, 375, 416), 416), [[0, 0.125, 1, 0.875]])


def test_a_mirrored_box_keeps_its_corners_in_order() -> None:
    box = np.array([[0, 0, 50, 100]], np.float32)
    np.testing.assert_allclose(place_boxes(box, stretch(200, 200, 64)._replace(flip=True), 64), [[0.75, 0, 1, 0.5]])
    upside_down = stretch(200, 200, 64)._replace(upside_down=True)
    np.testing.assert_allclose(place_boxes(box, upside_down, 64), [[0, 0.5, 0.25, 1]])


@pytest.mark.parametrize("policy", ["place", "crop"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_taking_boxes_back_is_the_inverse_of_placing_them(policy: str, width: int, height: int) -> None:
    config = AugmentConfig(policy=policy, flip=0, scale_min=0.25, scale_max=2)  # type: ignore[arg-type]
    rng = generator(1)
    boxes = (rng.random((20, 4)) * [width, height, width, height]).astype(np.float32)
    placements = [random_placement(width, height, 416, config, generator(seed)) for seed in range(50)]
    for placement in [letterbox(width, height, 416), stretch(width, height, 416), *placements]:
        back = unplace_boxes(place_boxes(boxes, placement, 416).astype(np.float64), placement, 416)
        np.testing.assert_allclose(back, boxes, atol=2e-3)


def test_an_image_without_objects_stays_one() -> None:
    none = np.empty((0, 4), np.float32)
    placed = place_boxes(none, stretch(10, 10, 64)._replace(flip=True), 64)
    assert placed.shape == (0, 4)
    clipped, kept = clip_boxes(placed, 0.001)
    assert clipped.shape == (0, 4) and kept.shape == (0,)


# --------------------------------------------------------------------------------- boxes move with their pixels


@pytest.mark.parametrize("policy", ["place", "crop"])
@pytest.mark.parametrize(("scale_min", "scale_max"), [(1, 1), (0.25, 2)])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_box_moves_with_its_pixels(policy: str, scale_min: float, scale_max: float, width: int, height: int) -> None:
    """A bright rectangle is placed and found again by its pixels."""
    config = AugmentConfig(policy=policy, scale_min=scale_min, scale_max=scale_max, flip_vertical=0.5, transpose=0.5)  # type: ignore[arg-type]
    side, flips, upside_down, transposed, cut, compared = 320, 0, 0, 0, 0, 0
    for seed in range(150):
        rng = generator(seed)
        x1, y1 = int(rng.integers(4, width * 0.7)), int(rng.integers(4, height * 0.7))
        x2, y2 = int(rng.integers(x1 + 8, width - 3)), int(rng.integers(y1 + 8, height - 3))
        image = np.full((height, width, 3), DARK, np.uint8)
        image[y1:y2, x1:x2] = BRIGHT
        placement = random_placement(width, height, side, config, rng)
        canvas = canvas_of(side)
        place_image(image, placement, canvas)
        placed = place_boxes(np.array([[x1, y1, x2, y2]], np.float32), placement, side)
        clipped, _ = clip_boxes(placed, config.min_size)
        box = clipped[0] * side
        found = canvas[..., 0] > (BRIGHT + DARK) / 2
        columns, rows = np.flatnonzero(found.any(0)), np.flatnonzero(found.any(1))
        if min(box[2] - box[0], box[3] - box[1]) < 2:  # outside, or too small to be surely there
            assert min(len(columns), len(rows)) <= 4
            continue
        extents = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        np.testing.assert_allclose(box, extents, atol=1.5, err_msg=f"seed {seed}: {placement}")
        compared += 1
        flips += placement.flip
        upside_down += placement.upside_down
        transposed += placement.transposed
        cut += not np.allclose(clipped, placed)
    assert compared > 100
    assert all(compared * 0.3 < count < compared * 0.7 for count in (flips, upside_down, transposed))
    if policy == "crop" or scale_max > 1:
        assert cut > 10
