"""Statistics of a set of shards, and of what a network would see of it, as numbers.

Boxes are measured where training measures them, in the square input: `side` px, the whole image made square by
`resize`, not augmented. T counts the objects that are trained on (not difficult, not crowd), K the anchors.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.anchors import shape_iou
from data.images.geometry import CELL_PX, Resize, place_boxes, whole_image
from data.shards.index import ShardIndex
from data.wording import counted
from launch.config_file import read_yaml

Floats = NDArray[np.float64]

SMALL_PX, LARGE_PX = 32, 96  # COCO: the square root of an object's area in its image
NUM_SIZES = 8  # of images, the most frequent ones are listed


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
        return (self.boxes_xyxy[:, 2:] - self.boxes_xyxy[:, :2]).astype(np.float64) * self.side / CELL_PX

    @property
    def per_image(self) -> NDArray[np.int64]:
        """[N] objects that are trained on."""
        return np.bincount(self.samples, minlength=self.index.num_samples)


def measure(index: ShardIndex, side: int, resize: Resize, anchors_cells: Floats | None) -> Stats:
    """Places every object in the input, as evaluation does."""
    if side < CELL_PX or side % CELL_PX:
        raise ValueError(f"side={side}: expected a multiple of {CELL_PX} px, the stride of the network")
    arrays = index.arrays
    trained = index.trained()
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
            numbers = list(read_yaml(Path(text)).get("anchors") or [])
        anchors = np.array(numbers, np.float64).reshape(-1, 2)
    except (ValueError, TypeError):
        anchors = np.empty((0, 2))
    if not len(anchors) or not (np.isfinite(anchors) & (anchors > 0)).all():
        raise ValueError(
            f"--anchors {text}: expected 1.32,1.73,3.19,4.01,... (w,h in cells of {CELL_PX} px), or a YAML file with "
            "`anchors: [w, h, w, h, ...]`"
        )
    return anchors


def class_counts(index: ShardIndex) -> NDArray[np.int64]:
    """[C, 3] objects of each class: trained on, difficult, crowd. An object that is both counts as crowd."""
    arrays = index.arrays
    kinds = np.where(arrays["crowd"], 2, arrays["difficult"].astype(np.int64))
    cells = arrays["labels"].astype(np.int64) * 3 + kinds
    return np.bincount(cells, minlength=3 * len(index.classes)).reshape(-1, 3)


def shared_slots(stats: Stats, anchors_cells: Floats) -> int:
    """Number of objects beyond the slots they take: a slot (cell, anchor) of an image trains on one object only."""
    nearest = shape_iou(stats.sizes_cells, anchors_cells).argmax(1)
    grid = stats.side // CELL_PX
    centres = (stats.boxes_xyxy[:, :2] + stats.boxes_xyxy[:, 2:]) / 2
    cells = np.clip(np.floor(centres * grid), 0, grid - 1).astype(np.int64)
    slots = np.stack([stats.samples, cells[:, 0], cells[:, 1], nearest])
    return int(slots.shape[1] - np.unique(slots, axis=1).shape[1])


def image_sizes(index: ShardIndex) -> tuple[list[str], NDArray[np.int64]]:
    """The most frequent sizes, such as "500x375", with their counts, in descending order; then all others as one."""
    sides = np.stack([index.arrays["widths"], index.arrays["heights"]], axis=1)
    sizes, counts = np.unique(sides, axis=0, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    sizes, counts = sizes[order], counts[order].astype(np.int64)
    names = [f"{width}x{height}" for width, height in sizes[:NUM_SIZES].tolist()]
    if len(sizes) > NUM_SIZES:
        names.append(f"{counted(len(sizes) - NUM_SIZES, 'other')}")
        counts = np.append(counts[:NUM_SIZES], counts[NUM_SIZES:].sum())
    return names, counts


def coco_sizes(stats: Stats) -> dict[str, int]:
    """Number of objects of each of COCO's sizes."""
    areas = stats.index.arrays["areas_px"][stats.trained]
    small, large = int((areas < SMALL_PX**2).sum()), int((areas > LARGE_PX**2).sum())
    return {
        f"small (< {SMALL_PX}x{SMALL_PX} px)": small,
        "medium": len(areas) - small - large,
        f"large (> {LARGE_PX}x{LARGE_PX} px)": large,
    }
