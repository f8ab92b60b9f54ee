"""The statistics of a set as a table for the terminal."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.anchors import average_iou, shape_iou
from data.images.files.facts import ORIENTATION
from data.images.geometry import CELL_PX
from data.shards.index import ShardIndex
from data.shards.read import ShardReader
from data.view.statistics.measure import Floats, Stats, class_counts, coco_sizes, image_sizes, shared_slots
from data.wording import counted

QUANTILES = {"min": 0.0, "1 %": 0.01, "10 %": 0.1, "median": 0.5, "90 %": 0.9, "99 %": 0.99, "max": 1.0}
NUM_FILES = 1000  # inspected
LARGE_SIDE_PX = 1216  # twice the largest input: decoding more pixels is wasted
DECODING_NS = 3.6  # per pixel of a JPEG, on one core


def table(stats: Stats) -> str:
    heading = f"{stats.index.folder}, from {stats.index.source}"
    return "\n\n".join([heading, _class_table(stats), _quantile_table(stats), _notes(stats)])


def _class_table(stats: Stats) -> str:
    arrays, classes = stats.index.arrays, stats.index.classes
    counts = class_counts(stats.index)
    samples = np.repeat(np.arange(stats.index.num_samples), np.diff(arrays["object_starts"]))
    pairs = np.unique(np.stack([arrays["labels"], samples]), axis=1)  # each class once per image
    images = np.bincount(pairs[0], minlength=len(classes))
    wide = max(map(len, (*classes, "of 80 classes")))
    lines = [f"{'class':<{wide}} {'images':>9} {'objects':>9} {'trained':>9} {'difficult':>9} {'crowd':>9}"]
    for name, on, (trained, difficult, crowd) in zip(classes, images.tolist(), counts.tolist(), strict=True):
        total = trained + difficult + crowd
        lines.append(f"{name:<{wide}} {on:>9,} {total:>9,} {trained:>9,} {difficult:>9,} {crowd:>9,}")
    trained, difficult, crowd = counts.sum(0).tolist()
    label, on, total = f"of {counted(len(classes), 'class')}", int(stats.index.num_samples), int(counts.sum())
    lines.append(f"{label:<{wide}} {on:>9,} {total:>9,} {trained:>9,} {difficult:>9,} {crowd:>9,}")
    return "\n".join(lines)


def _quantile_table(stats: Stats) -> str:
    arrays = stats.index.arrays
    sizes_px = (arrays["boxes_xyxy_px"][:, 2:] - arrays["boxes_xyxy_px"][:, :2])[stats.trained]
    sizes = stats.sizes_cells * CELL_PX
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
    if large := _large(index):
        rows["large images"] = large
    if stats.anchors_cells is None:
        rows["anchors"] = "none given: --anchors shows how they fit"
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


def _files(index: ShardIndex) -> str:
    """Sizes of all files, headers of some: which are slow to decode, or turned by EXIF while their boxes are not."""
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


def _large(index: ShardIndex) -> str:
    """A sentence on what shrinking would save; "" if nothing."""
    sides = np.stack([index.arrays["widths"], index.arrays["heights"]]).astype(np.float64)
    scale = np.minimum(1, LARGE_SIDE_PX / sides.max(0))
    if (scale == 1).all():
        return ""
    pixels = sides.prod(0)
    kept = float((pixels * scale**2).sum() / pixels.sum())
    saved_ms = float(pixels.mean()) * (1 - kept) * DECODING_NS / 1e6
    return (
        f"{_of(int((scale < 1).sum()), index.num_samples)} have a side of more than {LARGE_SIDE_PX:,} px: made with "
        f"--max-side {LARGE_SIDE_PX}, {kept:.0%} of the pixels are left to decode, some {saved_ms:.1f} ms less an image"
    )


def _of(count: int, total: int) -> str:
    return f"{count:,} ({_share(count, total)})"


def _share(count: int, total: int) -> str:
    return f"{count / max(total, 1):.1%}"
