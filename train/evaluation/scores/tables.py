"""Detections and truths of a whole set, flat, and their numbering: what every score is counted from.

Boxes have continuous edges and start at 0: a VOC annotation xmin, ymin, xmax, ymax (pixels counted from 1, the last one
inclusive) is (xmin - 1, ymin - 1, xmax, ymax).

C classes, N detections, M truths
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from data.shards.index import ShardIndex

Table = TypeVar("Table", "Detections", "Truths")


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Detections in some images, flat. The order matters only within an image."""

    images: NDArray[np.int64]  #: [N] image numbers, any integers
    labels: NDArray[np.int64]  #: [N]
    scores: NDArray[np.float64]  #: [N] only their order counts
    boxes_xyxy_px: NDArray[np.float64]  #: [N, 4]

    def __post_init__(self) -> None:
        _check_rows(self)
        problem = "expected a number; the network has diverged, restart from an earlier checkpoint"
        refuse(self, np.isnan(self.scores), "scores", problem)

    @classmethod
    def empty(cls) -> "Detections":
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 4)))

    @classmethod
    def concatenate(cls, parts: Sequence["Detections"]) -> "Detections":
        """Joins all parts. If each image is in one part only, their order changes no score."""
        parts = [cls.empty(), *parts]
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


@dataclass(frozen=True, slots=True, eq=False)
class Truths:
    """The objects to find in the same images, flat."""

    images: NDArray[np.int64]  #: [M]
    labels: NDArray[np.int64]  #: [M]
    boxes_xyxy_px: NDArray[np.float64]  #: [M, 4]
    areas_px: NDArray[np.float64]  #: [M] of the segmentation, if there is one
    difficult: NDArray[np.bool_]  #: [M] VOC
    crowd: NDArray[np.bool_]  #: [M] COCO: many objects in one box

    def __post_init__(self) -> None:
        _check_rows(self)
        empty = (self.boxes_xyxy_px[:, 2:] == self.boxes_xyxy_px[:, :2]).any(-1)
        refuse(self, empty, "boxes_xyxy_px", "expected an area; such an object cannot be found, leave it out")

    @property
    def ignored(self) -> NDArray[np.bool_]:
        """[M] whether finding it is neither right nor wrong."""
        return self.difficult | self.crowd


def rows(table: Table, which: NDArray[np.integer] | NDArray[np.bool_]) -> Table:
    """Some rows of a table, by number or by mask."""
    return type(table)(*(getattr(table, field.name)[which] for field in fields(table)))


def truths_of(index: ShardIndex) -> Truths:
    """All objects of a set; images are samples of the index."""
    arrays = index.arrays
    counts = np.diff(arrays["object_starts"])
    return Truths(
        np.repeat(np.arange(index.num_samples, dtype=np.int64), counts),
        arrays["labels"].astype(np.int64),
        arrays["boxes_xyxy_px"].astype(np.float64),
        arrays["areas_px"].astype(np.float64),
        arrays["difficult"],
        arrays["crowd"],
    )


def by_image_id(table: Table, index: ShardIndex) -> Table:
    """Renumbers images in the order of their ids, which breaks ties of scores.

    So the division into shards makes no difference, and COCO's images come in the order of pycocotools.
    """
    ids = index.arrays["image_ids"]
    order = np.lexsort((ids, np.char.str_len(ids)))  # numeric ids in the order of their values
    number_of_sample = np.empty(len(ids), np.int64)
    number_of_sample[order] = np.arange(len(ids))
    return replace(table, images=number_of_sample[table.images])


def xywh_from_xyxy(boxes_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    """COCO's frame: left and top edge, width and height."""
    return np.concatenate([boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]], axis=1)


def mean_of_known(values_C: NDArray[np.float64]) -> float:
    """Mean over [..., C] without the nan of classes without truths; nan if there is nothing else.

    Summed in this order: another would change the last bits.
    """
    known = values_C[~np.isnan(values_C)]
    return float(known.mean()) if len(known) else np.nan


def _check_rows(table: Detections | Truths) -> None:
    for field in fields(table):
        found = getattr(table, field.name).shape
        expected = (len(table.images), 4) if field.name == "boxes_xyxy_px" else (len(table.images),)
        if found != expected:
            problem = f"{field.name} has shape {found}, expected {expected} to go with {len(table.images)} images"
            raise ValueError(f"{type(table).__name__}: {problem}; pass one entry per box in every array")
    bad = ~np.all(table.boxes_xyxy_px[:, 2:] >= table.boxes_xyxy_px[:, :2], axis=-1)  # nan is bad too
    problem = "expected x1 <= x2 and y1 <= y2; pass left, top, right, bottom, not centre and size"
    refuse(table, np.asarray(bad), "boxes_xyxy_px", problem)


def refuse(table: Detections | Truths, bad: NDArray[np.bool_], column: str, problem: str) -> None:
    """ValueError names the first bad row, if there is one."""
    if bad.any():
        row = int(bad.argmax())
        where = f"{type(table).__name__} row {row} (image {table.images[row]}; {bad.sum()} of {len(bad)} rows)"
        raise ValueError(f"{where}: {column} {getattr(table, column)[row]}, {problem}")
