"""Advice on a set before training: how large inputs must be for it, and what makes it hard."""

import numpy as np

from data.images.geometry import CELL_PX
from data.shards.index import ShardIndex
from data.view.statistics.measure import class_counts
from data.wording import counted

SMALL_PX, SMALLEST = 24, 0.05  # shorter side in the input that all but this share of objects reach (`choose_side`)
HARD_PX = 8  # a quarter of a cell: objects below it are hardly ever found
SIDES = (192, 608)
FEW = 20  # objects of a class
NAMED = 20  # sentences on classes


def trained_objects(index: ShardIndex) -> np.ndarray:
    """[M] indices of the objects that are trained on."""
    return np.flatnonzero(index.trained())


def shorter_sides(index: ShardIndex) -> np.ndarray:
    """[M] shorter sides of objects that are trained on, as fractions of the longer side of their image."""
    arrays = index.arrays
    longest = np.repeat(np.maximum(arrays["widths"], arrays["heights"]), np.diff(arrays["object_starts"]))
    sizes = (arrays["boxes_xyxy_px"][:, 2:] - arrays["boxes_xyxy_px"][:, :2]).min(1) / longest
    return np.asarray(sizes[trained_objects(index)])


def choose_side(index: ShardIndex) -> int:
    """Input side in px, a multiple of 32: all but the smallest 5 % of objects reach 24 px, where all classes count
    equally, as in mAP."""
    sizes, labels = shorter_sides(index), index.arrays["labels"][trained_objects(index)]
    if not len(sizes):
        raise ValueError(f"{index.folder}: expected objects to train on, found none; difficult ones and crowds are not")
    weights = 1 / np.bincount(labels)[labels]
    ascending = np.argsort(sizes)
    passed = np.cumsum(weights[ascending]) / weights.sum()
    smallest = float(sizes[ascending][np.searchsorted(passed, SMALLEST + 1e-9)])
    wanted = SMALL_PX / max(smallest, 1e-9)  # of a set from elsewhere it may be as good as 0
    own = float(np.median(np.maximum(index.arrays["widths"], index.arrays["heights"])))
    return int(np.clip(-(-min(wanted, own) // CELL_PX) * CELL_PX, *SIDES))


def hard_points(train: ShardIndex, val: ShardIndex | None, side: int) -> list[str]:
    """Sentences on what makes the set hard."""
    found = _hard_classes(train, val)
    if len(found) > NAMED:
        more = (
            f"{len(found) - NAMED:,} more such sentences on classes: python -m data.shards stats counts their objects"
        )
        found = [*found[:NAMED], more]
    sizes = shorter_sides(train) * side
    if (small := (sizes < HARD_PX).mean()) > 0.01:
        found.append(f"{small:.0%} of objects are below {HARD_PX} px in an input of {side} px: hardly ever found")
    empty = (np.diff(train.arrays["object_starts"]) == 0).mean()
    if empty > 0.5:
        found.append(f"{empty:.0%} of images show no object: are annotations missing?")
    if train.num_samples < 100:
        found.append(f"{counted(train.num_samples, 'image')}: the network will memorize them; more images help most")
    if val is None:
        found.append("no --val: scores are for the training images, and say nothing about others")
    return found


def _hard_classes(train: ShardIndex, val: ShardIndex | None) -> list[str]:
    counts, found = class_counts(train), []
    held = class_counts(val)[:, 0] if val else counts[:, 0]
    for name, (trained, difficult, crowd), in_val in zip(train.classes, counts.tolist(), held.tolist(), strict=True):
        if trained + difficult + crowd == 0:
            found.append(f"class {name}: no object" + (f", but {in_val} in --val" if val and in_val else ""))
        elif trained == 0:
            found.append(f"class {name}: {counted(difficult + crowd, 'object')}, difficult or crowd, none to train on")
        elif trained < FEW:
            found.append(f"class {name}: {counted(trained, 'object')} to learn from; expect little below {FEW}")
        if val and trained and not in_val:
            found.append(f"class {name}: no object in --val, its AP is unknown")
    return found
