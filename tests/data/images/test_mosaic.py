"""Rooms cover a canvas; in each, boxes move with their pixels and end where the room does."""

import numpy as np
import pytest
from numpy.typing import NDArray

from data.images.augment import AugmentConfig
from data.images.geometry import GREY, Room, place_image
from data.images.mosaic import CENTRE, Piece, piece_boxes, random_rooms, random_tile
from tests.data.pictures import canvas_of, generator

BRIGHT, DARK = 255, 30
SIDE = 320


def test_rooms_cover_the_canvas_and_do_not_overlap() -> None:
    meet = []
    for seed in range(200):
        rooms = random_rooms(SIDE, generator(seed))
        taken = np.zeros((SIDE, SIDE), int)
        for x1, y1, x2, y2 in rooms:
            taken[y1:y2, x1:x2] += 1
        assert (taken == 1).all() and len(rooms) == 4
        meet.append(rooms[0][2:])
    low, high = np.min(meet, 0) / SIDE, np.max(meet, 0) / SIDE
    assert (CENTRE[0] - 0.01 < low).all() and (low < 0.33).all()
    assert (high > 0.67).all() and (high < CENTRE[1] + 0.01).all()


@pytest.mark.parametrize(("width", "height"), [(500, 375), (375, 500), (301, 97)])
def test_a_box_moves_with_its_pixels_and_is_cut_by_its_room(width: int, height: int) -> None:
    """A bright rectangle is laid into a room and found again by its pixels; around the room nothing changes."""
    config = AugmentConfig(flip_vertical=0.5, transpose=0.5)
    flips, upside_down, transposed, cut, compared = 0, 0, 0, 0, 0
    for seed in range(200):
        rng = generator(seed)
        x1, y1 = int(rng.integers(4, width * 0.7)), int(rng.integers(4, height * 0.7))
        x2, y2 = int(rng.integers(x1 + 8, width - 3)), int(rng.integers(y1 + 8, height - 3))
        image = np.full((height, width, 3), DARK, np.uint8)
        image[y1:y2, x1:x2] = BRIGHT
        room = random_rooms(SIDE, rng)[seed % 4]
        piece = Piece(0, random_tile(width, height, room, SIDE, config, rng), room)
        canvas = canvas_of(SIDE)
        place_image(image, piece.placement, canvas[room.y1 : room.y2, room.x1 : room.x2])
        outside = np.ones((SIDE, SIDE), bool)
        outside[room.y1 : room.y2, room.x1 : room.x2] = False
        assert (canvas[outside] == 77).all()
        boxes, _ = piece_boxes(np.array([[x1, y1, x2, y2]], np.float32), piece, SIDE, config)
        box = boxes[0] * SIDE
        found = (canvas[..., 0] > (BRIGHT + DARK) / 2) & ~outside
        columns, rows = np.flatnonzero(found.any(0)), np.flatnonzero(found.any(1))
        if min(box[2] - box[0], box[3] - box[1]) < 2:  # outside, or too small to be surely there
            assert min(len(columns), len(rows)) <= 4
            continue
        extents = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        np.testing.assert_allclose(box, extents, atol=1.5, err_msg=f"seed {seed}: {piece}")
        compared += 1
        flips += piece.placement.flip
        upside_down += piece.placement.upside_down
        transposed += piece.placement.transposed
        cut += bool(np.isclose(box, room, atol=0.01).any())
    assert compared > 100 and cut > 10
    assert all(compared * 0.3 < count < compared * 0.7 for count in (flips, upside_down, transposed))


def placed(seed: int, config: AugmentConfig) -> tuple[Piece, float]:
    """A tile, and the longer side of its whole image as a fraction of the canvas."""
    rng = generator(seed)
    room = random_rooms(SIDE, rng)[0]
    placement = random_tile(400, 300, room, SIDE, config, rng)
    (sx1, sy1, sx2, sy2), (tx1, ty1, tx2, ty2) = placement.source, placement.target
    return Piece(0, placement, room), max((tx2 - tx1) / (sx2 - sx1) * 400, (ty2 - ty1) / (sy2 - sy1) * 300) / SIDE


def test_the_scale_is_uniform_in_its_logarithm() -> None:
    config = AugmentConfig(jitter=0, mosaic_scale_min=0.25, mosaic_scale_max=1)
    scales = np.array([placed(seed, config)[1] for seed in range(600)])
    assert 0.24 < scales.min() < 0.27 and 0.95 < scales.max() < 1.02
    assert np.median(scales) == pytest.approx(0.5, abs=0.04)


def test_an_image_smaller_than_its_room_lies_inside_it_on_grey() -> None:
    config = AugmentConfig(jitter=0, mosaic_scale_min=0.2, mosaic_scale_max=0.2)
    for seed in range(20):
        piece, _ = placed(seed, config)
        np.testing.assert_allclose(piece.placement.source, (0, 0, 400, 300), atol=4)  # half a pixel of the canvas
        canvas = canvas_of(SIDE)[: piece.room.y2, : piece.room.x2]
        place_image(np.full((300, 400, 3), 9, np.uint8), piece.placement, canvas)
        assert set(np.unique(canvas)) == {9, GREY} and (canvas == 9).all(-1).sum() == pytest.approx(64 * 48, rel=0.04)


def visible(min_visible: float) -> NDArray[np.bool_]:
    """Which of four boxes stay: all, half, a tenth of the area inside the room, none."""
    config = AugmentConfig(min_visible=min_visible)
    room = Room(0, 0, 100, 100)
    placement = random_tile(100, 100, room, 100, AugmentConfig(jitter=0, mosaic_scale_min=1, flip=0), generator(0))
    boxes = np.array([[0, 0, 50, 50], [50, 0, 150, 50], [90, 0, 190, 50], [100, 0, 200, 50]], np.float32)
    return piece_boxes(boxes, Piece(0, placement, room), 100, config)[1]


def test_boxes_of_which_too_little_is_left_are_dropped() -> None:
    assert visible(0).tolist() == [True, True, True, False]
    assert visible(0.2).tolist() == [True, True, False, False]
    assert visible(0.6).tolist() == [True, False, False, False]
