"""The statistics of a set as one figure."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from data.anchors import average_iou, shape_iou
from data.images.geometry import CELL_PX
from data.view.figures import BAR_IN, BLUE, DPI, PANEL_IN, bars, heat, histogram, plain
from data.view.statistics.measure import Floats, Stats, class_counts, coco_sizes, image_sizes
from data.wording import counted

KINDS = ("trained on", "difficult", "crowd")
SIZES_PX = 2.0 ** np.arange(1, 10.5, 0.5)
RATIOS = 2.0 ** np.arange(-4, 4.25, 0.25)
ROWS, COLUMNS = 3, 3  # of charts, to the right of the classes


def draw(stats: Stats) -> Figure:
    """Classes on the left, the most frequent on top; sizes, places and anchors beside them."""
    index = stats.index
    height = max(PANEL_IN[1] * ROWS, BAR_IN * len(index.classes)) + 0.6
    figure = Figure((PANEL_IN[0] * (COLUMNS + 1), height), DPI, layout="constrained")
    objects = counted(len(stats.samples), "object")
    figure.suptitle(f"{plain(index.source)}: {counted(index.num_samples, 'image')}, {objects} to train on")
    grid = figure.add_gridspec(ROWS, COLUMNS + 1)
    _classes(figure.add_subplot(grid[:, 0]), stats)
    places = [figure.add_subplot(grid[row, 1 + column]) for row in range(ROWS) for column in range(COLUMNS)]
    _boxes(places[:6], stats)
    names, counts = image_sizes(index)
    bars(places[6], "image sizes, px", names, counts, unit="images")
    if stats.anchors_cells is None:
        sizes = coco_sizes(stats)
        bars(places[7], "objects by size (COCO)", list(sizes), np.array(list(sizes.values())), unit="objects")
        places[8].remove()
    else:
        _anchors(places[7:], stats, stats.anchors_cells)
    return figure


def _classes(axes: Axes, stats: Stats) -> None:
    counts, classes = class_counts(stats.index), stats.index.classes
    order = np.argsort(-counts.sum(1), kind="stable")
    kinds = KINDS[: 1 + int(np.flatnonzero(counts.sum(0)).max(initial=0))]
    title = f"objects of {counted(len(classes), 'class')}"
    bars(axes, title, [plain(classes[label]) for label in order], counts[order, : len(kinds)], kinds, unit="objects")


def _boxes(places: list[Axes], stats: Stats) -> None:
    sizes_px, side = stats.sizes_cells * CELL_PX, stats.side
    centres_px = (stats.boxes_xyxy[:, :2] + stats.boxes_xyxy[:, 2:]) / 2 * side
    into = f"{side} px {stats.resize}"
    heat(places[0], f"box sizes, {into}", sizes_px, side, "width, px", "height, px")
    if stats.anchors_cells is not None:
        places[0].scatter(*(stats.anchors_cells.T * CELL_PX), marker="x", color=BLUE, label="anchors")
        places[0].legend(fontsize=8)
    heat(places[1], f"box centres, {into}", centres_px, side, "from the left, px", "from the top, px")
    places[1].invert_yaxis()
    most = int(stats.per_image.max(initial=0))
    edges = np.arange(-0.5, most + 1.5, max(1, most // 40))
    histogram(places[2], "objects of an image", stats.per_image, edges, "objects that are trained on", "images")
    size = np.clip(np.sqrt(sizes_px.prod(1)), SIZES_PX[0], SIZES_PX[-1])
    histogram(places[3], f"box size, {into}", size, SIZES_PX, "square root of the area, px", "objects")
    ratio = np.clip(sizes_px[:, 0] / sizes_px[:, 1], RATIOS[0], RATIOS[-1])
    histogram(places[4], "box shape", ratio, RATIOS, "width / height", "objects")
    short = np.clip(sizes_px.min(1, initial=side), SIZES_PX[0], SIZES_PX[-1])
    histogram(places[5], f"shorter side of a box, {into}", short, SIZES_PX, "px", "objects")


def _anchors(places: list[Axes], stats: Stats, anchors_cells: Floats) -> None:
    ious = shape_iou(stats.sizes_cells, anchors_cells)
    nearest = np.bincount(ious.argmax(1), minlength=len(anchors_cells))
    names = [f"{width:.2f} x {height:.2f}" for width, height in anchors_cells.tolist()]
    bars(places[0], "objects nearest to each anchor (cells)", names, nearest, unit="objects")
    fit = f", average {average_iou(stats.sizes_cells, anchors_cells):.1%}" if len(ious) else ""
    histogram(places[1], f"IoU with the nearest anchor{fit}", ious.max(1), np.linspace(0, 1, 21), "IoU", "objects")
