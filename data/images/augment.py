"""Geometry and colour of one image: pure functions of (image, boxes, rng).

Geometry is defined by integers: the pixels `source` of the image become the pixels `target` of the S x S canvas, then
the canvas may be mirrored. Boxes go through the same integers, so they move exactly with their pixels.

Two training policies, both darknet's (src/data.c, load_data_detection):
- `place` (darknet since August 2018): the aspect ratio is jittered, the whole image is scaled by `scale` (1 = as
  large as fits) and put at a random place of a grey canvas; what hangs over is cut;
- `crop` (darknet of November 2016, the paper's numbers): each side moves in or out by up to `jitter`, the crop is
  stretched to the square, outside pixels repeat the border.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from data.images.boxes import Floats

Image = NDArray[np.uint8]
GREY = 128  # darknet fills with .5


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    policy: Literal["place", "crop"] = "place"
    jitter: float = 0.3  #: fraction of a side; darknet jitter=.3 (yolov2-voc.cfg), .2 in the 2016 cfgs
    scale_min: float = 1.0  #: `place` only; darknet of 2017 drew U(.25, 2), since August 2018 it is 1
    scale_max: float = 1.0
    flip: float = 0.5  #: probability of mirroring left to right
    hue: float = 0.1  #: largest shift, as a fraction of the colour circle
    saturation: float = 1.5  #: largest factor; its inverse is as likely
    exposure: float = 1.5
    min_size: float = 0.001  #: boxes thinner than this fraction of the canvas after clipping are dropped (darknet)

    def __post_init__(self) -> None:
        if not 0 <= self.jitter < 0.5:
            raise ValueError(f"data.augment.jitter={self.jitter}: expected 0 <= jitter < 0.5, of the side")
        if not 0 < self.scale_min <= self.scale_max:
            raise ValueError(
                f"data.augment.scale_min={self.scale_min}, scale_max={self.scale_max}: expected 0 < min <= max"
            )
        if not (0 <= self.flip <= 1 and 0 <= self.hue <= 1 and 0 <= self.min_size < 1):
            raise ValueError(
                f"data.augment.flip={self.flip}, hue={self.hue}, min_size={self.min_size}: expected each from 0 to 1"
            )
        if self.saturation < 1 or self.exposure < 1:
            raise ValueError(
                f"data.augment.saturation={self.saturation}, exposure={self.exposure}: expected factors >= 1"
            )


class Placement(NamedTuple):
    source: tuple[int, int, int, int]  # x1 y1 x2 y2 px of the image, inside it
    target: tuple[int, int, int, int]  # x1 y1 x2 y2 px of the canvas, inside it
    flip: bool = False
    repeat_border: bool = False  # fill the rest of the canvas by repeating the border instead of grey


def _overlap(start: float, length: float, source_length: int, canvas_length: int) -> tuple[int, int, int, int]:
    """One axis: an image axis laid over canvas start..start+length -> (source from, to, target from, to)."""
    target_from = min(max(round(start), 0), canvas_length - 1)
    target_to = min(max(round(start + length), target_from + 1), canvas_length)
    ratio = source_length / length
    source_from = min(max(round((target_from - start) * ratio), 0), source_length - 1)
    source_to = min(max(round((target_to - start) * ratio), source_from + 1), source_length)
    return source_from, source_to, target_from, target_to


def _lay(
    left: float, top: float, new_width: float, new_height: float, width: int, height: int, side: int
) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    sx1, sx2, tx1, tx2 = _overlap(left, new_width, width, side)
    sy1, sy2, ty1, ty2 = _overlap(top, new_height, height, side)
    return (sx1, sy1, sx2, sy2), (tx1, ty1, tx2, ty2)


def random_placement(width: int, height: int, side: int, config: AugmentConfig, rng: np.random.Generator) -> Placement:
    jitter = config.jitter
    mirror, *four, size = rng.random(6).tolist()
    flip = mirror < config.flip
    if config.policy == "crop":
        left, right, top, bottom = (jitter * (2 * draw - 1) for draw in four)
        left, right, top, bottom = left * width, right * width, top * height, bottom * height
        zoom_x, zoom_y = side / (width - left - right), side / (height - top - bottom)
        laid = _lay(-left * zoom_x, -top * zoom_y, width * zoom_x, height * zoom_y, width, height, side)
        return Placement(*laid, flip, repeat_border=True)
    wider, higher, across, down = four
    aspect = width * (1 + jitter * (2 * wider - 1)) / (height * (1 + jitter * (2 * higher - 1)))
    scale = config.scale_min + size * (config.scale_max - config.scale_min)
    new_width, new_height = (
        (scale * side * aspect, scale * side) if aspect < 1 else (scale * side, scale * side / aspect)
    )
    left, top = across * (side - new_width), down * (side - new_height)
    return Placement(*_lay(left, top, new_width, new_height, width, height, side), flip)


def letterbox(width: int, height: int, side: int) -> Placement:
    """The whole image, as large as fits, centred on grey."""
    zoom = side / max(width, height)
    new_width, new_height = max(1, round(width * zoom)), max(1, round(height * zoom))
    left, top = (side - new_width) // 2, (side - new_height) // 2
    return Placement((0, 0, width, height), (left, top, left + new_width, top + new_height))


def stretch(width: int, height: int, side: int) -> Placement:
    return Placement((0, 0, width, height), (0, 0, side, side))


def whole_image(width: int, height: int, side: int, resize: Literal["letterbox", "stretch"]) -> Placement:
    """How a square input is made of an image that is not augmented."""
    return (letterbox if resize == "letterbox" else stretch)(width, height, side)


def place_image(image: Image, placement: Placement, canvas: Image) -> None:
    """Writes the [S, S, 3] canvas. One resize, straight into it: three times faster than one warpAffine."""
    sx1, sy1, sx2, sy2 = placement.source
    tx1, ty1, tx2, ty2 = placement.target
    for edge in (canvas[:ty1], canvas[ty2:], canvas[ty1:ty2, :tx1], canvas[ty1:ty2, tx2:]):
        edge[:] = GREY
    inner = canvas[ty1:ty2, tx1:tx2]
    cv2.resize(image[sy1:sy2, sx1:sx2], (tx2 - tx1, ty2 - ty1), dst=inner, interpolation=cv2.INTER_LINEAR)
    if placement.repeat_border:
        border = ty1, len(canvas) - ty2, tx1, len(canvas) - tx2
        cv2.copyMakeBorder(inner.copy(), *border, cv2.BORDER_REPLICATE, dst=canvas)
    if placement.flip:
        cv2.flip(canvas, 1, dst=canvas)


def place_boxes(boxes_xyxy_px: NDArray[np.float32], placement: Placement, side: int) -> NDArray[np.float32]:
    """[N, 4] px of the image -> [N, 4] fractions of the canvas, not clipped."""
    (sx1, sy1, sx2, sy2), (tx1, ty1, tx2, ty2) = placement.source, placement.target
    zoom_x, zoom_y = (tx2 - tx1) / (sx2 - sx1) / side, (ty2 - ty1) / (sy2 - sy1) / side
    left, top = tx1 / side - sx1 * zoom_x, ty1 / side - sy1 * zoom_y
    boxes = boxes_xyxy_px * np.array((zoom_x, zoom_y, zoom_x, zoom_y)) + np.array((left, top, left, top))
    if placement.flip:
        boxes[:, [0, 2]] = 1 - boxes[:, [2, 0]]
    placed: NDArray[np.float32] = boxes.astype(np.float32)
    return placed


def unplace_boxes(boxes_xyxy: Floats, placement: Placement, side: int) -> NDArray[np.float64]:
    """Inverse of `place_boxes` for an unmirrored placement: fractions of the canvas -> px of the image."""
    assert not placement.flip
    (sx1, sy1, sx2, sy2), (tx1, ty1, tx2, ty2) = placement.source, placement.target
    zoom = np.array([(sx2 - sx1) / (tx2 - tx1), (sy2 - sy1) / (ty2 - ty1)] * 2)
    moved: Floats = (boxes_xyxy * side - (tx1, ty1, tx1, ty1)) * zoom + (sx1, sy1, sx1, sy1)
    return moved.astype(np.float64)


def clip_boxes(boxes_xyxy: NDArray[np.float32], min_size: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Clips to the canvas; also which boxes are still at least `min_size` wide and high."""
    clipped: NDArray[np.float32] = np.minimum(np.maximum(boxes_xyxy, 0), 1)
    size = clipped[:, 2:] - clipped[:, :2]
    return clipped, (size[:, 0] >= min_size) & (size[:, 1] >= min_size)


class Colour(NamedTuple):
    """How the colours of one image change."""

    hue: float = 0.0  # shift, as a fraction of the colour circle
    saturation: float = 1.0  # factor
    exposure: float = 1.0  # factor


def random_colour(config: AugmentConfig, rng: np.random.Generator) -> Colour:
    hue, *draws = rng.random(5).tolist()
    saturation, exposure = 1 + draws[0] * (config.saturation - 1), 1 + draws[1] * (config.exposure - 1)
    return Colour(
        config.hue * (2 * hue - 1),
        1 / saturation if draws[2] < 0.5 else saturation,
        1 / exposure if draws[3] < 0.5 else exposure,
    )


def distort_colour(canvas: Image, colour: Colour) -> None:
    """In place; on photographs a third of a grey level from exact arithmetic, which `data.images.on_device` has.

    Only the hue needs HSV. In HSV the value V of a pixel is its largest channel, and a channel is V - S (V - c) for a
    saturation that is S times as large: what is left is a weighted sum of the picture and its V.
    """
    if colour == Colour():
        return
    hue, saturation, exposure = colour
    hsv = cv2.cvtColor(canvas, cv2.COLOR_RGB2HSV_FULL)
    value = cv2.extractChannel(hsv, 2)
    shift = np.zeros((canvas.shape[1], 3), np.uint8)
    shift[:, 0] = round(hue * 256) % 256  # the colour circle has 256 steps: unsigned bytes go round it
    rows = hsv.reshape(len(hsv), -1)
    np.add(rows, shift.reshape(-1), out=rows)
    cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL, dst=canvas)
    values = cv2.cvtColor(value, cv2.COLOR_GRAY2RGB, dst=hsv)
    cv2.addWeighted(canvas, exposure * saturation, values, exposure * (1 - saturation), 0, dst=canvas)
