"""Average precision as the VOC devkit counts it, from every detection and every truth of a set at once.

Last on the way from shard to score, in numpy: no network, no device, no process group. Boxes have continuous edges
and start at 0: a VOC annotation xmin, ymin, xmax, ymax (pixels counted from 1, the last one included) is
(xmin - 1, ymin - 1, xmax, ymax). The width x2 - x1 then is the devkit's xmax - xmin + 1: its "+1 convention" comes
out by itself, and there is no +1 below.

C classes, N detections, M truths, P pairs of a detection and a truth of the same image and class.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

# voc_eval's own arange, not tenths: 3 * 0.1 > 0.3, so that a recall of 3/10 misses the fourth threshold.
RECALLS = np.arange(0.0, 1.1, 0.1)


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """What the network said about some images, flat. The order matters only within an image."""

    images: NDArray[np.int64]  #: [N] image numbers, any integers
    labels: NDArray[np.int64]  #: [N]
    scores: NDArray[np.float64]  #: [N] only their order counts
    boxes_xyxy_px: NDArray[np.float64]  #: [N, 4]

    def __post_init__(self) -> None:
        _check_rows(self)
        problem = "expected a number; the network has diverged, start again from an earlier checkpoint"
        _refuse(self, np.isnan(self.scores), "scores", problem)

    @classmethod
    def empty(cls) -> "Detections":
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 4)))

    @classmethod
    def concatenate(cls, parts: Sequence["Detections"]) -> "Detections":
        """All parts as one. If each image is in one part only, the order of the parts changes no score."""
        parts = [cls.empty(), *parts]
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


@dataclass(frozen=True, slots=True, eq=False)
class Truths:
    """What there is to find in the same images, flat."""

    images: NDArray[np.int64]  #: [M]
    labels: NDArray[np.int64]  #: [M]
    boxes_xyxy_px: NDArray[np.float64]  #: [M, 4]
    areas_px: NDArray[np.float64]  #: [M] of the segmentation, where there is one
    difficult: NDArray[np.bool_]  #: [M] VOC
    crowd: NDArray[np.bool_]  #: [M] COCO: many objects in one box

    def __post_init__(self) -> None:
        _check_rows(self)
        empty = (self.boxes_xyxy_px[:, 2:] == self.boxes_xyxy_px[:, :2]).any(-1)
        _refuse(self, empty, "boxes_xyxy_px", "expected an area; nothing can find such an object, leave it out")

    @property
    def ignored(self) -> NDArray[np.bool_]:
        """[M] finding it is neither right nor wrong"""
        return self.difficult | self.crowd


@dataclass(frozen=True, slots=True, eq=False)
class VocScores:
    """nan marks a class without a truth that counts; the means leave it out."""

    ap_11point: NDArray[np.float64]  #: [C] VOC2007: mean of the best precision at recall >= 0, .1, .. 1
    ap_area: NDArray[np.float64]  #: [C] VOC2010 on: area under the precision envelope
    num_truths: NDArray[np.int64]  #: [C] without the ignored ones

    @property
    def map_11point(self) -> float:
        return _mean_of_known(self.ap_11point)

    @property
    def map_area(self) -> float:
        return _mean_of_known(self.ap_area)


def voc_ap(detections: Detections, truths: Truths, num_classes: int, iou_threshold: float = 0.5) -> VocScores:
    """The devkit's rule, as py-faster-rcnn's `voc_eval` writes it down.

    Each detection goes to the truth of its image and class with the largest IoU, ignored ones included, the first of
    equals. If the IoU is above the threshold (not at it), an ignored truth takes the detection out of the count; any
    other makes the first detection that claims it right, later ones wrong. All else is wrong. First means highest
    score. Equal scores: lower image number, then earlier in the input, so that the result cannot depend on how the
    detections of the ranks were put together. Differs: voc_eval's argsort leaves equal scores to numpy and the CPU,
    worth up to 2.2e-6 of a class's AP on VOC2007 test.
    """
    best_N, iou_N = _match(detections, truths, num_classes)
    found_N = iou_N > iou_threshold
    taken_out_N = found_N & np.append(truths.ignored, False)[best_N]  # -1 reads the appended one

    # Class by class and best score first; lexsort is stable, its last key is the first to decide.
    order = np.lexsort((detections.images, -detections.scores, detections.labels))
    order = order[~taken_out_N[order]]
    claims = np.flatnonzero(found_N[order])
    _, first_claims = np.unique(best_N[order][claims], return_index=True)
    right = np.zeros(len(order), dtype=np.bool_)
    right[claims[first_claims]] = True

    num_truths = np.bincount(truths.labels[~truths.ignored], minlength=num_classes)
    edges = np.searchsorted(detections.labels[order], np.arange(num_classes + 1))
    ap = np.full((2, num_classes), np.nan)
    for label in np.flatnonzero(num_truths):
        ap[:, label] = _average_precisions(right[edges[label] : edges[label + 1]], num_truths[label])
    return VocScores(ap_11point=ap[0], ap_area=ap[1], num_truths=num_truths)


def pairs(
    detections: Detections, truths: Truths, num_classes: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Each detection with each truth of its image and class, as rows [P], [P]; and how many pairs a detection has [N].

    In the order of the detections; the truths of one in the order of the input.
    """
    for table in (detections, truths):
        problem = f"expected 0..{num_classes - 1}; use the network's own classes, leave free truth slots (-1) out"
        _refuse(table, (table.labels < 0) | (table.labels >= num_classes), "labels", problem)
    group_N = detections.images * num_classes + detections.labels
    group_M = truths.images * num_classes + truths.labels
    by_group = np.argsort(group_M, kind="stable")
    start_N, stop_N = (np.searchsorted(group_M[by_group], group_N, side=side) for side in ("left", "right"))
    count_N = stop_N - start_N
    run_starts = np.cumsum(count_N) - count_N
    place_P = np.arange(count_N.sum()) + np.repeat(start_N - run_starts, count_N)  # in by_group
    return np.repeat(np.arange(len(group_N)), count_N), by_group[place_P], count_N


def _match(detections: Detections, truths: Truths, num_classes: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """[N] the truth of the same image and class with the largest IoU (-1: there is none), [N] that IoU."""
    detection_P, truth_P, count_N = pairs(detections, truths, num_classes)
    iou_P = _iou_of_pairs(detections.boxes_xyxy_px[detection_P], truths.boxes_xyxy_px[truth_P])
    some_N = count_N > 0  # reduceat cannot do with empty runs
    runs = count_N[some_N]
    run_starts = np.cumsum(runs) - runs
    best_iou = np.maximum.reduceat(iou_P, run_starts)
    place_P = np.where(iou_P == np.repeat(best_iou, runs), np.arange(len(iou_P)), len(iou_P))
    first_best = np.minimum.reduceat(place_P, run_starts)

    best_N, best_iou_N = np.full(len(count_N), -1), np.zeros(len(count_N))
    best_N[some_N], best_iou_N[some_N] = truth_P[first_best], best_iou
    return best_N, best_iou_N


def _iou_of_pairs(a_xyxy: NDArray[np.float64], b_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    """[P, 4], [P, 4] -> [P], row by row (`data.boxes.iou` is all against all)."""
    sides = np.minimum(a_xyxy[:, 2:], b_xyxy[:, 2:]) - np.maximum(a_xyxy[:, :2], b_xyxy[:, :2])
    overlap = np.clip(sides, 0, None).prod(-1)
    area_a, area_b = ((boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a_xyxy, b_xyxy))
    union = area_a + area_b - overlap
    return np.asarray(overlap / np.where(union > 0, union, 1))


def _average_precisions(right: NDArray[np.bool_], num_truths: int) -> tuple[float, float]:
    """11-point and area, from the verdicts of one class in descending score."""
    hits = np.cumsum(right)
    precision = hits / np.arange(1, len(right) + 1)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)  # best precision from here on
    reached = np.searchsorted(hits / num_truths, RECALLS)  # first row with recall >= t; past the end: never
    # Recall grows by 1 / num_truths at every hit: sum, then divide once, and a perfect score is exactly 1.0.
    return float(envelope[reached].mean()), float(envelope[:-1][right].sum() / num_truths)


def _mean_of_known(ap: NDArray[np.float64]) -> float:
    known = ap[~np.isnan(ap)]
    return float(known.mean()) if len(known) else 0.0


def _check_rows(table: Detections | Truths) -> None:
    for field in fields(table):
        found = getattr(table, field.name).shape
        expected = (len(table.images), 4) if field.name == "boxes_xyxy_px" else (len(table.images),)
        if found != expected:
            problem = f"{field.name} has shape {found}, expected {expected} to go with {len(table.images)} images"
            raise ValueError(f"{type(table).__name__}: {problem}; pass one entry per box in every array")
    bad = ~np.all(table.boxes_xyxy_px[:, 2:] >= table.boxes_xyxy_px[:, :2], axis=-1)  # nan is bad too
    problem = "expected x1 <= x2 and y1 <= y2; pass left, top, right, bottom, not centre and size"
    _refuse(table, np.asarray(bad), "boxes_xyxy_px", problem)


def _refuse(table: Detections | Truths, bad: NDArray[np.bool_], column: str, problem: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        where = f"{type(table).__name__} row {row} (image {table.images[row]}; {bad.sum()} of {len(bad)} rows)"
        raise ValueError(f"{where}: {column} {getattr(table, column)[row]}, {problem}")
