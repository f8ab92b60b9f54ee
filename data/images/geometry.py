"""Geometry of one image: where its pixels land on a canvas, and its boxes with them.

Defined by integers: the pixels `source` of the image, which may have been transposed, become the pixels `target` of the
canvas, which may then be mirrored, left to right and top to bottom. Boxes go through the same integers, so they
move exactly with their pixels.
"""

from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from data.images.boxes import Floats

Image = NDArray[np.uint8]
GreyLevel = type[np.uint8] | type[np.float32]  # of a canvas, 0..255
Canvas = NDArray[np.uint8 | np.float32]
Resize = Literal["letterbox", "stretch", "darknet-letterbox", "darknet-stretch"]
Size = int | tuple[int, int]  # of a canvas, px: the side of a square, or width and height
GREY = 128  # darknet fills with .5
CELL_PX = 32  # side of the network's grid cells: sides of its input are multiples
MOST_PX = 1 << 14  # longest side of an input


class Room(NamedTuple):
    """A rectangle of a canvas, px."""

    x1: int
    y1: int
    x2: int
    y2: int


class Placement(NamedTuple):
    source: tuple[int, int, int, int]  # x1 y1 x2 y2 px of the image, inside it
    target: tuple[int, int, int, int]  # x1 y1 x2 y2 px of the canvas, inside it
    flip: bool = False
    repeat_border: bool = False  # fill the rest of the canvas by repeating the border instead of grey
    upside_down: bool = False
    transposed: bool = False  # rows and columns of the image are exchanged first; source is a part of the result
    aligned: bool = False  # the corner pixels of source and target have the same centres, as in darknet's resize_image


def overlap(start: float, length: float, source_length: int, canvas_length: int) -> tuple[int, int, int, int]:
    """One axis: an image axis laid over canvas start..start+length -> (source from, to, target from, to)."""
    target_from = min(max(round(start), 0), canvas_length - 1)
    target_to = min(max(round(start + length), target_from + 1), canvas_length)
    ratio = source_length / length
    source_from = min(max(round((target_from - start) * ratio), 0), source_length - 1)
    source_to = min(max(round((target_to - start) * ratio), source_from + 1), source_length)
    return source_from, source_to, target_from, target_to


def lay(
    left: float, top: float, new_width: float, new_height: float, width: int, height: int, room: tuple[int, int]
) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    """The image stretched to new_width x new_height, its corner at (left, top) of the room -> source, target."""
    sx1, sx2, tx1, tx2 = overlap(left, new_width, width, room[0])
    sy1, sy2, ty1, ty2 = overlap(top, new_height, height, room[1])
    return (sx1, sy1, sx2, sy2), (tx1, ty1, tx2, ty2)


def width_and_height(size: Size) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)


def letterbox(width: int, height: int, size: Size) -> Placement:
    """The whole image, as large as fits, centred on grey."""
    room_width, room_height = width_and_height(size)
    zoom = min(room_width / width, room_height / height)
    new_width, new_height = max(1, round(width * zoom)), max(1, round(height * zoom))
    left, top = (room_width - new_width) // 2, (room_height - new_height) // 2
    return Placement((0, 0, width, height), (left, top, left + new_width, top + new_height))


def stretch(width: int, height: int, size: Size) -> Placement:
    return Placement((0, 0, width, height), (0, 0, *width_and_height(size)))


def darknet_letterbox(width: int, height: int, size: Size) -> Placement:
    """darknet's rounding (src/image.c, letterbox_image)."""
    new_width, new_height = room_width, room_height = width_and_height(size)
    if room_width / width < room_height / height:
        new_height = max(1, height * room_width // width)
    else:
        new_width = max(1, width * room_height // height)
    left, top = (room_width - new_width) // 2, (room_height - new_height) // 2
    return Placement((0, 0, width, height), (left, top, left + new_width, top + new_height))


def whole_image(width: int, height: int, size: Size, resize: Resize) -> Placement:
    """Placement of an image on a canvas without augmentation. darknet's own ways are for weights that it trained:
    bilinear with aligned corners, and boxes that end in the centre of their last pixel."""
    if resize == "letterbox":
        return letterbox(width, height, size)
    placement = (darknet_letterbox if resize == "darknet-letterbox" else stretch)(width, height, size)
    return placement._replace(aligned=resize != "stretch")


def grey_level(resize: Resize) -> GreyLevel:
    """The type of canvases that are not augmented: darknet does not round what it resizes."""
    return np.float32 if resize.startswith("darknet-") else np.uint8


def place_image(image: Image, placement: Placement, canvas: Canvas) -> None:
    """Writes a canvas [H, W, 3] or a room of it, by one resize into place: 3 times as fast as warpAffine."""
    sx1, sy1, sx2, sy2 = placement.source
    tx1, ty1, tx2, ty2 = placement.target
    for edge in (canvas[:ty1], canvas[ty2:], canvas[ty1:ty2, :tx1], canvas[ty1:ty2, tx2:]):
        edge[:] = GREY if canvas.dtype == np.uint8 else 127.5
    inner = canvas[ty1:ty2, tx1:tx2]
    part = image[sy1:sy2, sx1:sx2]
    if placement.transposed:
        part = np.asarray(cv2.transpose(image[sx1:sx2, sy1:sy2]), np.uint8)  # a tenth of the time of numpy
    if placement.aligned:
        resized = _resize_aligned(part, tx2 - tx1, ty2 - ty1)
        inner[:] = np.rint(resized) if canvas.dtype == np.uint8 else resized
    else:
        cv2.resize(part, (tx2 - tx1, ty2 - ty1), dst=inner, interpolation=cv2.INTER_LINEAR)
    if placement.repeat_border:
        border = ty1, canvas.shape[0] - ty2, tx1, canvas.shape[1] - tx2
        cv2.copyMakeBorder(inner.copy(), *border, cv2.BORDER_REPLICATE, dst=canvas)
    if placement.flip:
        cv2.flip(canvas, 1, dst=canvas)
    if placement.upside_down:
        cv2.flip(canvas, 0, dst=canvas)


def _resize_aligned(image: Image, width: int, height: int) -> NDArray[np.float32]:
    """darknet's arithmetic (src/image.c, resize_image). It adds nothing to the last row: that row is nearly black where
    rounding places it just above the image's last one, which moved the score of a letterboxed network by .17 %."""
    left, right, part_x = _aligned_axis(image.shape[1], width)
    upper, lower, part_y = _aligned_axis(image.shape[0], height)
    wide = image[:, left] * (1 - part_x)[:, None] + image[:, right] * part_x[:, None]
    part_of_lower = np.append(part_y[:-1], np.float32(0))[:, None, None]
    return np.asarray(wide[upper] * (1 - part_y)[:, None, None] + wide[lower] * part_of_lower, np.float32)


def _aligned_axis(length: int, new_length: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """The two old pixels between which each new one lies, and the weight of the second."""
    exact = np.arange(new_length, dtype=np.float32) * np.float32((length - 1) / max(new_length - 1, 1))
    first = np.minimum(exact.astype(np.int64), length - 1)
    return first, np.minimum(first + 1, length - 1), (exact - first).astype(np.float32)


def place_boxes(
    boxes_xyxy_px: NDArray[np.float32], placement: Placement, size: Size, room: Room | None = None
) -> NDArray[np.float32]:
    """[N, 4] px of the image -> [N, 4] fractions of the canvas, not clipped. room: the image's, if it lies in one."""
    width, height = width_and_height(size)
    x1, y1, x2, y2 = room or (0, 0, width, height)
    (sx1, sy1, sx2, sy2), (tx1, ty1, tx2, ty2) = placement.source, placement.target
    zoom_x, zoom_y = (tx2 - tx1) / (sx2 - sx1) / width, (ty2 - ty1) / (sy2 - sy1) / height
    corner_x, corner_y = _corner(placement, (width, height))
    left, top = (x1 + corner_x) / width - sx1 * zoom_x, (y1 + corner_y) / height - sy1 * zoom_y
    boxes_xyxy_px = boxes_xyxy_px[:, [1, 0, 3, 2]] if placement.transposed else boxes_xyxy_px
    boxes = (boxes_xyxy_px - _last_pixel(placement)) * np.array((zoom_x, zoom_y, zoom_x, zoom_y))
    boxes = boxes + np.array((left, top, left, top))
    if placement.flip:
        boxes[:, [0, 2]] = (x1 + x2) / width - boxes[:, [2, 0]]
    if placement.upside_down:
        boxes[:, [1, 3]] = (y1 + y2) / height - boxes[:, [3, 1]]
    placed: NDArray[np.float32] = boxes.astype(np.float32)
    return placed


def unplace_boxes(boxes_xyxy: Floats, placement: Placement, size: Size) -> NDArray[np.float64]:
    """Inverse of `place_boxes` for an unmirrored placement: fractions of the canvas -> px of the image."""
    assert not placement.flip and not placement.upside_down and not placement.transposed
    (sx1, sy1, sx2, sy2), (tx1, ty1, tx2, ty2) = placement.source, placement.target
    zoom = np.array([(sx2 - sx1) / (tx2 - tx1), (sy2 - sy1) / (ty2 - ty1)] * 2)
    canvas = width_and_height(size)
    moved: Floats = (boxes_xyxy * (canvas * 2) - _corner(placement, canvas) * 2) * zoom + (sx1, sy1, sx1, sy1)
    moved = moved + _last_pixel(placement)
    return moved.astype(np.float64)


def _corner(placement: Placement, canvas: tuple[int, int]) -> tuple[float, float]:
    """Left and top of the image for its boxes. darknet centres them (correct_region_boxes), but its pixels
    (embed_image) are half a pixel off if the margin is odd."""
    x1, y1, x2, y2 = placement.target
    return ((canvas[0] - x2 + x1) / 2, (canvas[1] - y2 + y1) / 2) if placement.aligned else (x1, y1)


def _last_pixel(placement: Placement) -> NDArray[np.int64]:
    """The pixel that darknet's boxes lack at the right and bottom: their width is xmax - xmin, both inclusive."""
    return np.array((0, 0, 1, 1)) * placement.aligned
