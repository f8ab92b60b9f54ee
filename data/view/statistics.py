"""What a set of shards holds and what of it a network would see: a table for the terminal, charts for the eye.

Boxes are measured where training measures them, in the square input: `side` px, the whole image made square by
`resize`, not augmented. T counts the objects that are trained on (not difficult, not crowd), K the anchors.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from PIL import Image
from yaml import YAMLError

from data.anchors import STRIDE_PX, average_iou, shape_iou
from data.images.augment import place_boxes, whole_image
from data.shards.index import ShardIndex
from data.shards.read import ShardReader
from data.view.charts import bars, columns, heat, page

Floats = NDArray[np.float64]

QUANTILES = {"min": 0.0, "1 %": 0.01, "10 %": 0.1, "median": 0.5, "90 %": 0.9, "99 %": 0.99, "max": 1.0}
SMALL_PX, LARGE_PX = 32, 96  # COCO: the square root of an object's area in its image
ORIENTATION = 0x0112  # EXIF tag
NUM_FILES = 1000  # looked into
NUM_SIZES = 8  # of images, the most frequent ones are listed
HEAT_TILES = 52


@dataclass(frozen=True, eq=False)
class Stats:
    index: ShardIndex
    side: int
    resize: str
    anchors_cells: Floats | None  # [K, 2]
    boxes_xyxy: NDArray[np.float32]  # [T, 4] fractions of the input
    samples: NDArray[np.int64]  # [T]
    trained: NDArray[np.bool_]  # [M] which objects of the index these are

    @property
    def sizes_cells(self) -> Floats:
        """[T, 2] w, h"""
        return (self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2]).astype(np.float64) * self.side / STRIDE_PX

    @property
    def per_image(self) -> NDArray[np.int64]:
        """[N] objects that are trained on."""
        return np.bincount(self.samples, minlength=self.index.num_samples)


def measure(
    index: ShardIndex, side: int, resize: Literal["letterbox", "stretch"], anchors_cells: Floats | None
) -> Stats:
    if side < STRIDE_PX or side % STRIDE_PX:
        raise ValueError(f"side={side}: expected a multiple of {STRIDE_PX} px, the stride of the network")
    arrays = index.arrays
    trained = ~(arrays["difficult"] | arrays["crowd"])
    boxes = [np.empty((0, 4), np.float32)]
    for sample in range(index.num_samples):
        placement = whole_image(*index.size_px(sample), side, resize)
        boxes.append(place_boxes(arrays["boxes_xyxy_px"][index.objects(sample)], placement, side))
    samples = np.repeat(np.arange(index.num_samples), np.diff(arrays["object_starts"]))
    return Stats(index, side, resize, anchors_cells, np.concatenate(boxes)[trained], samples[trained], trained)


def read_anchors(text: str) -> Floats:
    """[K, 2] from "w,h,w,h,...", or from `anchors: [w, h, w, h, ...]` in a YAML file."""
    numbers = text.split(",")
    try:
        if Path(text).suffix in (".yaml", ".yml"):
            numbers = yaml.safe_load(Path(text).read_text())["anchors"]
        anchors = np.array(numbers, np.float64).reshape(-1, 2)
    except (ValueError, TypeError, KeyError, YAMLError):
        anchors = np.empty((0, 2))
    if not len(anchors) or not (np.isfinite(anchors) & (anchors > 0)).all():
        raise ValueError(
            f"--anchors {text}: expected 1.32,1.73,3.19,4.01,... (w,h in cells of {STRIDE_PX} px), or a YAML file with "
            "`anchors: [w, h, w, h, ...]`"
        )
    return anchors


# -------------------------------------------------------------------------------------------------------------- text


def table(stats: Stats) -> str:
    heading = f"{stats.index.folder}, from {stats.index.source}"
    return "\n\n".join([heading, _class_table(stats), _quantile_table(stats), _notes(stats)])


def _class_table(stats: Stats) -> str:
    arrays, classes = stats.index.arrays, stats.index.classes
    counts = class_counts(stats.index)
    samples = np.repeat(np.arange(stats.index.num_samples), np.diff(arrays["object_starts"]))
    pairs = np.unique(np.stack([arrays["labels"], samples]), axis=1)  # each class once for each image that has it
    images = np.bincount(pairs[0], minlength=len(classes))
    wide = max(map(len, (*classes, "of 80 classes")))
    lines = [f"{'class':<{wide}} {'images':>9} {'objects':>9} {'trained':>9} {'difficult':>9} {'crowd':>9}"]
    for name, on, (trained, difficult, crowd) in zip(classes, images.tolist(), counts.tolist(), strict=True):
        total = trained + difficult + crowd
        lines.append(f"{name:<{wide}} {on:>9,} {total:>9,} {trained:>9,} {difficult:>9,} {crowd:>9,}")
    trained, difficult, crowd = counts.sum(0).tolist()
    label, on, total = f"of {len(classes)} classes", int(stats.index.num_samples), int(counts.sum())
    lines.append(f"{label:<{wide}} {on:>9,} {total:>9,} {trained:>9,} {difficult:>9,} {crowd:>9,}")
    return "\n".join(lines)


def class_counts(index: ShardIndex) -> NDArray[np.int64]:
    """[C, 3] objects of each class: trained on, difficult, crowd. An object that is both counts as crowd."""
    arrays = index.arrays
    kinds = np.where(arrays["crowd"], 2, arrays["difficult"].astype(np.int64))
    cells = arrays["labels"].astype(np.int64) * 3 + kinds
    return np.bincount(cells, minlength=3 * len(index.classes)).reshape(-1, 3)


def _quantile_table(stats: Stats) -> str:
    arrays = stats.index.arrays
    sizes_px = (arrays["boxes_xyxy_px"][:, 2:] - arrays["boxes_xyxy_px"][:, :2])[stats.trained]
    sizes = stats.sizes_cells * STRIDE_PX
    rows: dict[str, tuple[NDArray[Any], str]] = {
        "image width, px": (arrays["widths"], ".0f"),
        "image height, px": (arrays["heights"], ".0f"),
        "trained objects on an image": (stats.per_image, ".0f"),
        "box width, px of the image": (sizes_px[:, 0], ".1f"),
        "box height, px of the image": (sizes_px[:, 1], ".1f"),
        f"box width, px of {stats.side}": (sizes[:, 0], ".1f"),
        f"box height, px of {stats.side}": (sizes[:, 1], ".1f"),
        "box width, of the input": (sizes[:, 0] / stats.side, ".3f"),
        "box height, of the input": (sizes[:, 1] / stats.side, ".3f"),
        "box width / height": (sizes[:, 0] / sizes[:, 1], ".2f"),
    }
    lines = [f"{f'input {stats.side} px, {stats.resize}':<28}" + "".join(f"{name:>9}" for name in QUANTILES)]
    for name, (values, shown) in rows.items():
        found: list[float] = np.quantile(values, list(QUANTILES.values())).tolist() if len(values) else []
        lines.append(f"{name:<28}" + "".join(f"{value:>9{shown}}" for value in found))
    return "\n".join(lines)


def _notes(stats: Stats) -> str:
    index, trained = stats.index, len(stats.boxes_xyxy)
    empty = int((np.diff(index.arrays["object_starts"]) == 0).sum())
    sizes, counts = image_sizes(index)
    shown = [f"{name} ({_share(count, index.num_samples)})" for name, count in zip(sizes, counts.tolist(), strict=True)]
    rows = {
        "images without objects": _of(empty, index.num_samples),
        "image sizes": ", ".join(shown),
        "image files": _files(index),
        "objects by size (COCO)": ", ".join(
            f"{name} {_share(count, trained)}" for name, count in coco_sizes(stats).items()
        ),
    }
    if stats.anchors_cells is None:
        rows["anchors"] = "none given: --anchors tells how they fit"
    elif trained:
        rows |= _anchor_rows(stats, stats.anchors_cells)
    return "\n".join(f"{name:<28}{text}" for name, text in rows.items())


def _anchor_rows(stats: Stats, anchors_cells: Floats) -> dict[str, str]:
    sizes = stats.sizes_cells
    rows = {"average IoU with anchors": f"{average_iou(sizes, anchors_cells):.1%}"}
    nearest = shape_iou(sizes, anchors_cells).argmax(1)
    for number, (width, height) in enumerate(anchors_cells.tolist()):
        own = sizes[nearest == number]
        fit = f", average IoU {average_iou(own, anchors_cells):.1%}" if len(own) else ""
        rows[f"  {width:.2f} x {height:.2f} cells"] = f"nearest to {_of(len(own), len(sizes))}{fit}"
    rows["objects that share a slot"] = (
        f"{_of(shared_slots(stats, anchors_cells), len(sizes))}: the cell and the anchor of another one, which "
        f"hides them from training at {stats.side} px"
    )
    return rows


def shared_slots(stats: Stats, anchors_cells: Floats) -> int:
    """Objects less slots that they take: a slot (cell, anchor) of an image trains on one object only."""
    nearest = shape_iou(stats.sizes_cells, anchors_cells).argmax(1)
    grid = stats.side // STRIDE_PX
    centres = (stats.boxes_xyxy[:, :2] + stats.boxes_xyxy[:, 2:]) / 2
    cells = np.clip(np.floor(centres * grid), 0, grid - 1).astype(np.int64)
    slots = np.stack([stats.samples, cells[:, 0], cells[:, 1], nearest])
    return int(slots.shape[1] - np.unique(slots, axis=1).shape[1])


def image_sizes(index: ShardIndex) -> tuple[list[str], NDArray[np.int64]]:
    """The most frequent "500x375" and how often they come, the most frequent first; then all others in one."""
    sides = np.stack([index.arrays["widths"], index.arrays["heights"]], axis=1)
    sizes, counts = np.unique(sides, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    sizes, counts = sizes[order], counts[order].astype(np.int64)
    names = [f"{width}x{height}" for width, height in sizes[:NUM_SIZES].tolist()]
    if len(sizes) > NUM_SIZES:
        names.append(f"{len(sizes) - NUM_SIZES:,} others")
        counts = np.append(counts[:NUM_SIZES], counts[NUM_SIZES:].sum())
    return names, counts


def coco_sizes(stats: Stats) -> dict[str, int]:
    areas = stats.index.arrays["areas_px"][stats.trained]
    small, large = int((areas < SMALL_PX**2).sum()), int((areas > LARGE_PX**2).sum())
    return {
        f"small (< {SMALL_PX}x{SMALL_PX} px)": small,
        "medium": len(areas) - small - large,
        f"large (> {LARGE_PX}x{LARGE_PX} px)": large,
    }


def _files(index: ShardIndex) -> str:
    """Of all their size, of some the headers: what costs time to decode, what was turned without the boxes knowing."""
    stored, pixels = index.arrays["image_bytes"], index.arrays["widths"].astype(np.int64) * index.arrays["heights"]
    looked_at = np.unique(np.linspace(0, index.num_samples - 1, NUM_FILES).astype(np.int64))
    found = dict.fromkeys(("grey", "progressive (slow to decode)", "turned by EXIF (boxes refer to stored pixels)"), 0)
    formats: dict[str, int] = {}
    with ShardReader(index) as reader:
        for sample in looked_at.tolist():
            try:
                with Image.open(io.BytesIO(reader.image(sample))) as image:
                    name, turn = image.format or "?", image.getexif().get(ORIENTATION, 1)
                    marks = image.mode == "L", bool(image.info.get("progressive")), turn in range(2, 9)
            except OSError:
                name, marks = "unreadable", (False, False, False)
            formats[name] = formats.get(name, 0) + 1
            found = {what: count + mark for (what, count), mark in zip(found.items(), marks, strict=True)}
    kinds = [f"{count:,} {name}" for name, count in (*formats.items(), *found.items()) if count]
    size = f"{stored.sum() / 1e6:,.0f} MB, {stored.mean() / 1e3:.0f} kB each"
    return f"{size}, {8 * stored.sum() / pixels.sum():.1f} bits a pixel; of {len(looked_at):,}: {', '.join(kinds)}"


def _of(count: int, total: int) -> str:
    return f"{count:,} ({_share(count, total)})"


def _share(count: int, total: int) -> str:
    return f"{count / max(total, 1):.1%}"


# ------------------------------------------------------------------------------------------------------------ charts


def picture(stats: Stats) -> Image.Image:
    index, sizes_px = stats.index, stats.sizes_cells * STRIDE_PX
    side_px, ratio = np.sqrt(sizes_px.prod(1)), sizes_px[:, 0] / sizes_px[:, 1]
    size_names, size_counts = image_sizes(index)
    input_name = f"{stats.side} px {stats.resize}"
    counts = class_counts(index)
    kinds = ("trained on", "difficult", "crowd")[: 1 + int(np.flatnonzero(counts.sum(0)).max(initial=0))]
    tiles = np.linspace(0, 1, HEAT_TILES + 1)
    centres = (stats.boxes_xyxy[:, :2] + stats.boxes_xyxy[:, 2:]) / 2
    fractions = stats.sizes_cells * STRIDE_PX / stats.side
    anchors = stats.anchors_cells
    charts = [
        bars("objects of each class", index.classes, counts[:, : len(kinds)], kinds),
        heat(
            "box sizes" + (" and anchors" if anchors is not None else "") + f", {input_name}",
            np.histogram2d(fractions[:, 1], fractions[:, 0], (tiles, tiles))[0].astype(np.int64),
            f"width, 0 .. {stats.side} px",
            f"height, {stats.side} .. 0 px",
            [] if anchors is None else [(w * STRIDE_PX / stats.side, h * STRIDE_PX / stats.side) for w, h in anchors],
        ),
        heat(
            f"box centres, {input_name}",
            np.histogram2d(centres[:, 1], centres[:, 0], (tiles, tiles))[0].astype(np.int64),
            "left to right",
            "bottom to top",
        ),
        columns("trained objects on an image", *_whole(stats.per_image, [1, 2, 3, 5, 9, 17, 33])),
        columns(f"box size (root of the area), px of {stats.side}", *_between(side_px, [8, 16, 32, 64, 128, 256, 512])),
        columns("box width / height", *_between(ratio, [1 / 4, 1 / 2, 2 / 3, 1, 3 / 2, 2, 4])),
        bars("image sizes", size_names, size_counts[:, None]),
        bars("objects by size (COCO)", list(coco_sizes(stats)), np.array(list(coco_sizes(stats).values()))[:, None]),
    ]
    if anchors is not None and len(sizes_px):
        ious = shape_iou(stats.sizes_cells, anchors)
        names = [f"{width:.2f} x {height:.2f}" for width, height in anchors.tolist()]
        nearest = np.bincount(ious.argmax(1), minlength=len(anchors))
        title = f"IoU with the nearest anchor, average {average_iou(stats.sizes_cells, anchors):.1%}"
        charts += [
            columns(title, *_between(ious.max(1), [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])),
            bars("objects nearest to each anchor (cells)", names, nearest[:, None]),
        ]
    return page(f"{index.source}: {index.num_samples:,} images, {len(stats.trained):,} objects", charts)


def _between(values: NDArray[Any], limits: Sequence[float]) -> tuple[list[str], NDArray[np.int64]]:
    """Names and counts of: below the first limit, from each limit to the next one, from the last on."""
    steps = [f"{limit:.3g}" for limit in limits]
    names = [f"< {steps[0]}", *(f"{low}-{high}" for low, high in pairwise(steps)), f"{steps[-1]}+"]
    counts = np.bincount(np.digitize(values, limits), minlength=len(names))
    return names, counts.astype(np.int64)


def _whole(values: NDArray[np.int64], limits: Sequence[int]) -> tuple[list[str], NDArray[np.int64]]:
    """The same of whole numbers: 1-2 is 1 and 2."""
    names, counts = _between(values, limits)
    ranges = [f"{low}" if low == high - 1 else f"{low}-{high - 1}" for low, high in pairwise([0, *limits])]
    return [*ranges, names[-1]], counts
