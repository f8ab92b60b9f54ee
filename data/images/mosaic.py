"""Several images on one canvas: where each one and its boxes go.

Mosaic (YOLOv4, arXiv 2004.10934, section 3.3): four images meet at a random point of the canvas, each in its own room,
so that objects appear smaller, in other surroundings and cut by straight edges.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.images.augment import AugmentConfig, random_symmetry
from data.images.boxes import clip_boxes
from data.images.geometry import Placement, Room, Size, lay, place_boxes, width_and_height

CENTRE = (0.3, 0.7)  # range of the meeting point, as a share of the canvas in each direction


class Piece(NamedTuple):
    """One image of a canvas."""

    sample: int
    placement: Placement  # its canvas is the room
    room: Room
    blended: bool = False  # over the pieces before it


def random_rooms(side: int, rng: np.random.Generator) -> list[Room]:
    """Four rooms that cover the canvas."""
    x, y = (round(side * draw) for draw in rng.uniform(*CENTRE, 2).tolist())
    return [Room(0, 0, x, y), Room(x, 0, side, y), Room(0, y, x, side), Room(x, y, side, side)]


def random_tile(
    width: int, height: int, room: Room, side: int, config: AugmentConfig, rng: np.random.Generator
) -> Placement:
    """Placement with jitter and log-uniform scale; a smaller image lies inside its room, a larger one is cut."""
    mirror, wider, higher, size, across, down = rng.random(6).tolist()
    jitter, smallest = config.jitter, config.mosaic_scale_min
    upside_down, transposed = random_symmetry(config, rng)
    width, height = (height, width) if transposed else (width, height)
    aspect = width * (1 + jitter * (2 * wider - 1)) / (height * (1 + jitter * (2 * higher - 1)))
    longer = side * smallest * math.exp(size * math.log(config.mosaic_scale_max / smallest))
    new_width, new_height = (longer * aspect, longer) if aspect < 1 else (longer, longer / aspect)
    space = room.x2 - room.x1, room.y2 - room.y1
    left, top = across * (space[0] - new_width), down * (space[1] - new_height)
    laid = lay(left, top, new_width, new_height, width, height, space)
    return Placement(*laid, mirror < config.flip, upside_down=upside_down, transposed=transposed)


def piece_boxes(
    boxes_xyxy_px: NDArray[np.float32], piece: Piece, size: Size, config: AugmentConfig
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """[N, 4] px of the image -> [N, 4] fractions of the canvas, clipped to the room; which are still large enough."""
    (width, height), (x1, y1, x2, y2) = width_and_height(size), piece.room
    room = x1 / width, y1 / height, x2 / width, y2 / height
    boxes = place_boxes(boxes_xyxy_px, piece.placement, size, piece.room)
    return clip_boxes(boxes, config.min_size, config.min_visible, room)
