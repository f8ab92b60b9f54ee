"""One drawn picture: simple shapes with exact boxes, in front of clouds and stripes."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

cv2.setNumThreads(0)  # one picture per process at a time; the processes are the parallelism

Floats = NDArray[np.floating[Any]]

SUPERSAMPLING = 4
MIN_SIDE_PX = 4  # of a box
MIN_INSIDE = 0.7  # of an object's area: an object with less inside the picture is not drawn
MIN_VISIBLE = 0.8  # of that part: an object that would leave less of another is not drawn
P_DIFFICULT = 0.03  # chance of an object marked difficult, being very small
TILT = 0.3  # largest rotation of an object, radians
CONTRAST = 130.0  # between a fill and what lies under it, as a distance in 0..255 BGR


def _around(*radii: float) -> Floats:
    """[N, 2] corners at equal angles around the origin."""
    angles = np.arange(len(radii)) * (math.tau / len(radii))
    return np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=1).astype(np.float32)


_CROSS = [(0.96, -0.28), (0.96, 0.28), (0.28, 0.28), (0.28, 0.96), (-0.28, 0.96), (-0.28, 0.28)]
OUTLINES: dict[str, list[Floats]] = {  # contours in the unit circle, filled by the even-odd rule
    "circle": [_around(*[1.0] * 64)],
    "cross": [np.array([*_CROSS, *((-x, -y) for x, y in _CROSS)], np.float32)],
    "ring": [_around(*[1.0] * 64), _around(*[0.55] * 64)],
    "square": [_around(*[1.0] * 4)],
    "star": [_around(*[1.0, 0.42] * 5)],
    "triangle": [_around(*[1.0] * 3)],
}
CLASSES = tuple(OUTLINES)


class Shape(NamedTuple):
    """One object as drawn if nothing covers it."""

    name: str
    box: tuple[int, int, int, int]  # xmin ymin xmax ymax, 1-based inclusive, of the pixels at least half filled
    alpha: Floats  # [ymax - ymin + 1, xmax - xmin + 1] 0..1, coverage in the box; nothing is drawn outside
    inside: float  # fraction of its area inside the picture
    difficult: bool

    @property
    def window(self) -> tuple[slice, slice]:
        xmin, ymin, xmax, ymax = self.box
        return slice(ymin - 1, ymax), slice(xmin - 1, xmax)


def place(name: str, matrix: Floats, centre_px: Floats, size: tuple[int, int], difficult: bool) -> Shape | None:
    """The outline through a 2x2 matrix (unit circle -> px), moved to the centre, in a picture of (width, height).

    None if its box would be smaller than MIN_SIDE_PX.
    """
    contours_px = [outline @ matrix.T + centre_px for outline in OUTLINES[name]]
    left, top = (int(edge) for edge in np.floor(contours_px[0].min(0)) - 1)
    right, bottom = (int(edge) for edge in np.ceil(contours_px[0].max(0)) + 1)
    fine = np.zeros(((bottom - top) * SUPERSAMPLING, (right - left) * SUPERSAMPLING), np.uint8)
    # OpenCV counts from pixel centres (hence -0.5), here in 256ths of a fine pixel
    fine_px = [(contour - np.array([left, top])) * SUPERSAMPLING - 0.5 for contour in contours_px]
    cv2.fillPoly(fine, [np.rint(contour * 256).astype(np.int32) for contour in fine_px], 255, shift=8)
    patch = cv2.resize(fine, (right - left, bottom - top), interpolation=cv2.INTER_AREA)
    part = patch[max(-top, 0) : max(size[1] - top, 0), max(-left, 0) : max(size[0] - left, 0)]
    solid = part >= 128
    columns, rows = np.flatnonzero(solid.any(0)), np.flatnonzero(solid.any(1))
    if len(columns) == 0 or min(np.ptp(columns), np.ptp(rows)) + 1 < MIN_SIDE_PX:
        return None
    x, y, x_last, y_last = int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])
    x0, y0 = max(left, 0) + 1, max(top, 0) + 1
    alpha = part[y : y_last + 1, x : x_last + 1].astype(np.float32) / 255
    inside = int(part.sum()) / int(patch.sum())
    return Shape(name, (x0 + x, y0 + y, x0 + x_last, y0 + y_last), alpha, inside, difficult)


def paint(canvas: Floats, shape: Shape, rng: np.random.Generator) -> None:
    """Paints the shape on the [H, W, 3] canvas, in a colour unlike what it covers; plain, striped or dotted."""
    under = canvas[shape.window]
    weight = shape.alpha[..., None]
    candidates = rng.uniform(0, 255, (64, 3)).astype(np.float32)
    distance = np.linalg.norm(candidates - (under * weight).sum((0, 1)) / weight.sum(), axis=1)
    fill = candidates[np.argmax(np.minimum(distance, CONTRAST))]  # the first one far enough, or else the farthest
    height, width = shape.alpha.shape
    angle, scale, texture = rng.uniform(0, math.pi), math.tau / rng.uniform(7, 16), rng.integers(3)
    waves = [np.sin(_along(width, height, angle + turn) * scale) for turn in (0, math.pi / 2)]
    darker = [waves[0] > 2, waves[0] > 0, waves[0] * waves[1] > 0.4][texture]
    colour = np.where(darker[..., None], fill * 0.72 + 20, fill)
    canvas[shape.window] += weight * (colour - under)


def _along(width: int, height: int, angle: float) -> Floats:
    """[H, W] distance in px along the direction of the angle."""
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)
    return (y * math.sin(angle))[:, None] + x * math.cos(angle)


def background(width: int, height: int, rng: np.random.Generator) -> Floats:
    """[H, W, 3] 0..255 BGR: clouds, and over them stripes or a gradient."""
    clouds = rng.normal(rng.uniform(30, 225, 3), rng.uniform(5, 22), (*rng.integers(3, 9, 2), 3))
    canvas = cv2.resize(clouds.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    along = _along(width, height, rng.uniform(0, math.pi))
    if rng.random() < 0.5:
        along = np.sin(along * (math.tau / rng.uniform(12, 80)))
    pattern = along / np.abs(along).max()
    return np.asarray(canvas + pattern[..., None] * rng.uniform(-25, 25, 3).astype(np.float32), np.float32)


def draw(rng: np.random.Generator, classes: Sequence[str] = CLASSES) -> tuple[NDArray[np.uint8], list[Shape]]:
    """Draws a picture [H, W, 3] BGR; its objects are in order, later ones over earlier ones."""
    width, height = (int(side) for side in rng.integers(192, 353, 2))
    canvas = background(width, height, rng)
    owner = np.zeros((height, width), np.int64)  # for each pixel: 0, or 1 + number of the topmost object
    shapes: list[Shape] = []
    area, visible = np.zeros(0), np.zeros(0)  # [len(shapes)] px
    wanted = rng.integers(1, 5)
    for _ in range(40):  # attempts; a crowded picture may stay below `wanted`
        name = classes[int(rng.integers(len(classes)))]
        difficult = bool(rng.random() < P_DIFFICULT)
        diameter = rng.uniform(0.03, 0.06) if difficult else rng.uniform(0.25, 0.65)
        stretch, angle = math.exp(rng.uniform(-0.2, 0.2)), rng.uniform(-TILT, TILT)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        matrix = turn * np.array([stretch, 1 / stretch]) * (diameter * min(width, height) / 2)
        centre_px = rng.uniform(0, 1, 2) * (width, height)
        shape = place(name, matrix, centre_px, (width, height), difficult)
        if shape is None or shape.inside < MIN_INSIDE:
            continue
        solid = shape.alpha >= 0.5
        left_visible = visible - np.bincount(owner[shape.window][solid], minlength=len(shapes) + 1)[1:]
        if (left_visible < MIN_VISIBLE * area).any():
            continue
        shapes.append(shape)
        owner[shape.window][solid] = len(shapes)
        area, visible = np.append(area, solid.sum()), np.append(left_visible, solid.sum())
        paint(canvas, shape, rng)
        if len(shapes) == wanted:
            break
    canvas += rng.standard_normal(canvas.shape, np.float32) * np.float32(rng.uniform(1, 6))
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8), shapes
