"""Drawn pictures with exact boxes, laid out like a VOCdevkit: `python -m data.shapes ROOT --train 1000 --val 200`.

They stand in for photographs wherever a run has to be quick and to need no download. A picture is a function of
(seed, number, classes) alone, so a set has the same bytes however many processes draw it.
"""

import argparse
import math
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

cv2.setNumThreads(0)  # one picture per process at a time; the processes are the parallelism

Floats = NDArray[np.floating[Any]]

SUPERSAMPLING = 4
MIN_SIDE_PX = 4  # of a box
MIN_INSIDE = 0.4  # of an object's area: one with less of it inside the picture is not drawn
MIN_VISIBLE = 0.5  # of that part: an object that would leave less of another one is not drawn
P_DIFFICULT = 0.03  # chance of an object too small to be asked for
CONTRAST = 130.0  # between a fill and what lies under it, distance in 0..255 BGR


def _around(*radii: float) -> Floats:
    """[N, 2] corners at equal angles around the origin."""
    angles = np.arange(len(radii)) * (2 * math.pi / len(radii))
    return np.array(radii)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)


_A, _B = 0.28, 0.96  # half the width and the length of an arm of the cross
_CROSS = [(_B, -_A), (_B, _A), (_A, _A), (_A, _B), (-_A, _B), (-_A, _A)]
OUTLINES: dict[str, list[Floats]] = {  # contours in the unit circle, filled by the even-odd rule
    "circle": [_around(*[1.0] * 64)],
    "cross": [np.array([*_CROSS, *((-x, -y) for x, y in _CROSS)])],
    "ring": [_around(*[1.0] * 64), _around(*[0.55] * 64)],
    "square": [_around(*[1.0] * 4)],
    "star": [_around(*[1.0, 0.42] * 5)],
    "triangle": [_around(*[1.0] * 3)],
}
CLASSES = tuple(OUTLINES)


class Shape(NamedTuple):
    """One object as it would be drawn."""

    name: str
    alpha: Floats  # [H, W] 0..1, zero outside the box
    box: tuple[int, int, int, int]  # xmin ymin xmax ymax, 1-based inclusive, of the pixels it covers by half or more
    inside: float  # fraction of its area inside the picture
    difficult: bool


def place(name: str, matrix: Floats, centre_px: Floats, size: tuple[int, int], difficult: bool = False) -> Shape | None:
    """The outline through the 2x2 `matrix` (unit circle -> px) around `centre_px` in a picture of (width, height).

    None where its box would be smaller than MIN_SIDE_PX.
    """
    width, height = size
    contours_px = [outline @ matrix.T + centre_px for outline in OUTLINES[name]]
    low = np.floor(contours_px[0].min(0)).astype(int) - 1
    patch_width, patch_height = np.ceil(contours_px[0].max(0)).astype(int) + 1 - low
    fine = np.zeros((patch_height * SUPERSAMPLING, patch_width * SUPERSAMPLING), np.uint8)
    # OpenCV counts from pixel centres (-0.5), here in 256ths of a pixel
    corners = [np.rint(((points - low) * SUPERSAMPLING - 0.5) * 256).astype(np.int32) for points in contours_px]
    cv2.fillPoly(fine, corners, 255, shift=8)
    patch = cv2.resize(fine, (int(patch_width), int(patch_height)), interpolation=cv2.INTER_AREA) / 255.0

    left, top = np.maximum(low, 0)
    right, bottom = min(low[0] + patch_width, width), min(low[1] + patch_height, height)
    alpha = np.zeros((height, width))
    if left < right and top < bottom:
        alpha[top:bottom, left:right] = patch[top - low[1] : bottom - low[1], left - low[0] : right - low[0]]
    columns, rows = np.flatnonzero((alpha >= 0.5).any(0)), np.flatnonzero((alpha >= 0.5).any(1))
    if len(columns) == 0 or min(np.ptp(columns), np.ptp(rows)) + 1 < MIN_SIDE_PX:
        return None
    box = (int(columns[0]) + 1, int(rows[0]) + 1, int(columns[-1]) + 1, int(rows[-1]) + 1)
    inside = float(alpha.sum() / patch.sum())
    alpha[: box[1] - 1], alpha[box[3] :], alpha[:, : box[0] - 1], alpha[:, box[2] :] = 0, 0, 0, 0
    return Shape(name, alpha, box, inside, difficult)


def paint(canvas: Floats, shape: Shape, rng: np.random.Generator) -> None:
    """Lay the shape over the [H, W, 3] canvas, in a colour unlike what it covers, plain, striped or dotted."""
    under = np.average(canvas.reshape(-1, 3), axis=0, weights=shape.alpha.ravel())
    candidates = rng.uniform(0, 255, (64, 3))
    distance = np.linalg.norm(candidates - under, axis=1)
    fill = candidates[np.argmax(np.minimum(distance, CONTRAST))]  # the first one far enough, else the farthest
    shade = fill * 0.72 if fill.mean() > 90 else fill * 0.72 + 255 * 0.28
    wave = math.tau / rng.uniform(7, 16)
    along, across = _axes(canvas.shape[1], canvas.shape[0], rng.uniform(0, math.pi))
    texture = [
        np.zeros_like(along),
        (np.sin(along * wave) > 0).astype(np.float64),
        (np.sin(along * wave) * np.sin(across * wave) > 0.45).astype(np.float64),
    ][rng.integers(3)]
    colour = fill + texture[..., None] * (shade - fill)
    canvas += shape.alpha[..., None] * (colour - canvas)


def _axes(width: int, height: int, angle: float) -> tuple[Floats, Floats]:
    """[H, W] each: px along and across the direction."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)


def background(width: int, height: int, rng: np.random.Generator) -> Floats:
    """[H, W, 3] 0..255: clouds, and over them stripes or a gradient."""
    clouds = rng.normal(0, rng.uniform(5, 22), (*rng.integers(3, 9, 2), 3))
    canvas = rng.uniform(30, 225, 3) + cv2.resize(clouds, (width, height), interpolation=cv2.INTER_CUBIC)
    along, _ = _axes(width, height, rng.uniform(0, math.pi))
    stripes, gradient = np.sin(along * (math.tau / rng.uniform(12, 80))), along / np.abs(along).max()
    canvas += (stripes if rng.random() < 0.5 else gradient)[..., None] * rng.uniform(-25, 25, 3)
    return np.asarray(canvas)


def draw(rng: np.random.Generator, classes: Sequence[str] = CLASSES) -> tuple[NDArray[np.uint8], list[Shape]]:
    """A picture [H, W, 3] and its objects, later ones over earlier ones."""
    width, height = (int(side) for side in rng.integers(192, 353, 2))
    canvas = background(width, height, rng)
    owner = np.full((height, width), -1)  # number of the topmost object at each pixel
    shapes: list[Shape] = []
    wanted = rng.integers(1, 7)
    for _ in range(40):  # attempts; a crowded picture may stay below `wanted`
        name = classes[rng.integers(len(classes))]
        difficult = bool(rng.random() < P_DIFFICULT)
        diameter = rng.uniform(0.03, 0.06) if difficult else rng.uniform(0.12, 0.6)
        stretch, angle = math.exp(rng.uniform(-0.2, 0.2)), rng.uniform(0, math.tau)
        rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        matrix = rotation * np.array([stretch, 1 / stretch]) * (diameter * min(width, height) / 2)
        shape = place(name, matrix, rng.uniform(0, 1, 2) * (width, height), (width, height), difficult)
        if shape is None or shape.inside < MIN_INSIDE:
            continue
        after = np.where(shape.alpha >= 0.5, len(shapes), owner)
        if any((after == n).sum() < MIN_VISIBLE * (old.alpha >= 0.5).sum() for n, old in enumerate(shapes)):
            continue
        owner = after
        paint(canvas, shape, rng)
        shapes.append(shape)
        if len(shapes) == wanted:
            break
    canvas += rng.normal(0, rng.uniform(1, 6), canvas.shape)
    return np.clip(np.rint(canvas), 0, 255).astype(np.uint8), shapes


def _write(number: int, folder: Path, seed: int, classes: Sequence[str]) -> None:
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, number], np.uint64)))
    image, shapes = draw(rng, classes)
    stem = f"{number:06d}"
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
    (folder / "JPEGImages" / f"{stem}.jpg").write_bytes(encoded.tobytes())
    objects = "".join(
        f"""\t<object>
\t\t<name>{shape.name}</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>{int(shape.inside < 1)}</truncated>
\t\t<difficult>{int(shape.difficult)}</difficult>
\t\t<bndbox>
\t\t\t<xmin>{shape.box[0]}</xmin>
\t\t\t<ymin>{shape.box[1]}</ymin>
\t\t\t<xmax>{shape.box[2]}</xmax>
\t\t\t<ymax>{shape.box[3]}</ymax>
\t\t</bndbox>
\t</object>
"""
        for shape in shapes
    )
    height, width = image.shape[:2]
    xml = f"""<annotation>
\t<folder>{folder.name}</folder>
\t<filename>{stem}.jpg</filename>
\t<source>
\t\t<database>Drawn shapes, seed {seed}</database>
\t</source>
\t<size>
\t\t<width>{width}</width>
\t\t<height>{height}</height>
\t\t<depth>3</depth>
\t</size>
\t<segmented>0</segmented>
{objects}</annotation>
"""
    (folder / "Annotations" / f"{stem}.xml").write_text(xml, encoding="utf-8")


def draw_voc(
    root: Path,
    *,
    train: int,
    val: int,
    seed: int = 0,
    classes: Sequence[str] = CLASSES,
    num_workers: int | None = None,
) -> None:
    """root/VOC2007 with the image sets train and val; they are written last, so a set that has them is complete."""
    if train < 1 or val < 0 or seed < 0:
        raise ValueError(f"expected train >= 1, val >= 0, seed >= 0; found {train}, {val}, {seed}; correct them")
    if unknown := sorted(set(classes) - set(CLASSES)):
        raise ValueError(f"expected classes among {', '.join(CLASSES)}; found {', '.join(unknown)}; leave it out")
    folder = root / "VOC2007"
    sets = folder / "ImageSets" / "Main"
    if sets.exists():
        raise ValueError(f"{sets}: expected a new folder, found a finished set; remove it or choose another folder")
    for name in ("JPEGImages", "Annotations"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    numbers = range(1, train + val + 1)
    write = partial(_write, folder=folder, seed=seed, classes=tuple(classes))
    num_workers = num_workers or min(len(os.sched_getaffinity(0)), math.ceil(len(numbers) / 64))
    if num_workers == 1:
        for number in numbers:
            write(number)
    else:
        with ProcessPoolExecutor(num_workers, mp_context=multiprocessing.get_context("spawn")) as pool:
            for _ in pool.map(write, numbers, chunksize=16):
                pass
    sets.mkdir(parents=True)
    for name, part in (("train", numbers[:train]), ("val", numbers[train:])):
        (sets / f"{name}.txt").write_text("".join(f"{number:06d}\n" for number in part), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m data.shapes", description="Draw a VOC set of simple shapes.")
    parser.add_argument("root", type=Path, help="folder to hold VOC2007")
    parser.add_argument("--train", type=int, default=1000, help="pictures in the image set train")
    parser.add_argument("--val", type=int, default=200, help="pictures in the image set val")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw_voc(arguments.root, train=arguments.train, val=arguments.val, seed=arguments.seed)


if __name__ == "__main__":
    main()
