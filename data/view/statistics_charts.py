"""The statistics of a set as charts."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.anchors import STRIDE_PX, average_iou, shape_iou
from data.view.charts import bars, columns, heat, page
from data.view.statistics import Stats, class_counts, coco_sizes, image_sizes

HEAT_TILES = 52


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
