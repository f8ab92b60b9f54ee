"""Average precision as the VOC devkit counts it, from every detection and every truth of a set at once.

Last on the way from shard to score, in numpy: no network, no device, no process group. Boxes have continuous edges
and start at 0: a VOC annotation xmin, ymin, xmax, ymax (pixels counted from 1, the last one included) is
(xmin - 1, ymin - 1, xmax, ymax). The width x2 - x1 then is the devkit's xmax - xmin + 1: its "+1 convention" comes
out by itself, and there is no +1 below.

C classes, N detections, M truths, P pairs of a detection and a truth of the same image and class, S score thresholds, R
recalls.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

# voc_eval's own arange, not tenths: 3 * 0.1 > 0.3, so that a recall of 3/10 misses the fourth threshold.
RECALLS = np.arange(0.0, 1.1, 0.1)
SCORES = np.linspace(0, 1, 101)
CURVE_RECALLS = np.linspace(0, 1, 101)


Table = TypeVar("Table", "Detections", "Truths")


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


def rows(table: Table, which: NDArray[np.integer] | NDArray[np.bool_]) -> Table:
    return type(table)(*(getattr(table, field.name)[which] for field in fields(table)))


class Verdicts(NamedTuple):
    """What became of each detection; neither right nor ignored is wrong."""

    truth_N: NDArray[np.int64]  # of its image and class the one that it overlaps most; -1: there is none
    iou_N: NDArray[np.float64]  # with that truth
    right_N: NDArray[np.bool_]
    ignored_N: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class VocScores:
    """nan marks a class without a truth that counts; the means leave it out."""

    ap_11point: NDArray[np.float64]  #: [C] VOC2007: mean of the best precision at recall >= 0, .1, .. 1
    ap_area: NDArray[np.float64]  #: [C] VOC2010 on: area under the precision envelope
    num_truths: NDArray[np.int64]  #: [C] without the ignored ones
    envelope_RC: NDArray[np.float64]  #: best precision at this recall (CURVE_RECALLS) or a higher one
    right_SC: NDArray[np.int64]  #: detections of at least this score (SCORES) that are right
    wrong_SC: NDArray[np.int64]  #: and wrong

    @property
    def map_11point(self) -> float:
        return _mean_of_known(self.ap_11point)

    @property
    def map_area(self) -> float:
        return _mean_of_known(self.ap_area)

    @property
    def precision_SC(self) -> NDArray[np.float64]:
        """1 where nothing is found."""
        found_SC = self.right_SC + self.wrong_SC
        return np.asarray(np.where(found_SC > 0, self.right_SC / np.maximum(found_SC, 1), 1.0))

    @property
    def recall_SC(self) -> NDArray[np.float64]:
        """0 for classes without truths."""
        return np.asarray(self.right_SC / np.maximum(self.num_truths, 1))

    @property
    def f1_SC(self) -> NDArray[np.float64]:
        return np.asarray(2 * self.right_SC / np.maximum(self.right_SC + self.wrong_SC + self.num_truths, 1))


def voc_ap(detections: Detections, truths: Truths, num_classes: int, iou_threshold: float = 0.5) -> VocScores:
    """`judge`, then `voc_scores`."""
    verdicts = judge(detections, truths, num_classes, iou_threshold)
    num_truths = np.bincount(truths.labels[~truths.ignored], minlength=num_classes)
    return voc_scores(detections, verdicts.right_N, ~verdicts.ignored_N, num_truths)


def judge(detections: Detections, truths: Truths, num_classes: int, iou_threshold: float = 0.5) -> Verdicts:
    """The devkit's rule, as py-faster-rcnn's `voc_eval` writes it down.

    Each detection goes to the truth of its image and class with the largest IoU, ignored ones included, the first of
    equals. If the IoU is above the threshold (not at it), an ignored truth takes the detection out of the count; any
    other makes the first detection that claims it right, later ones wrong. All else is wrong. First means highest
    score; `ranking` has the order of equal ones.
    """
    detection_P, truth_P = pairs(detections, truths, num_classes)
    iou_P = iou_of_pairs(detections.boxes_xyxy_px[detection_P], truths.boxes_xyxy_px[truth_P])
    best_N, iou_N = best_of_pairs(detection_P, truth_P, iou_P, len(detections.labels))
    found_N = iou_N > iou_threshold
    ignored_N = found_N & np.append(truths.ignored, False)[best_N]  # -1 reads the appended one
    order = ranking(detections)
    claims = order[(found_N & ~ignored_N)[order]]
    _, first_claims = np.unique(best_N[claims], return_index=True)
    right_N = np.zeros(len(order), np.bool_)
    right_N[claims[first_claims]] = True
    return Verdicts(best_N, iou_N, right_N, ignored_N)


def ranking(detections: Detections) -> NDArray[np.int64]:
    """[N] class by class, the best score first.

    Equal scores: lower image number, then earlier in the input, so that the result cannot depend on how the detections
    of the ranks were put together. Differs: voc_eval's argsort leaves equal scores to numpy and the CPU, worth up to
    2.2e-6 of a class's AP on VOC2007 test.
    """
    # lexsort is stable, its last key is the first to decide
    return np.lexsort((detections.images, -detections.scores, detections.labels))


def voc_scores(
    detections: Detections, right_N: NDArray[np.bool_], counted_N: NDArray[np.bool_], num_truths: NDArray[np.int64]
) -> VocScores:
    """From what is right among what counts. num_truths: [C]."""
    order = ranking(detections)
    order = order[counted_N[order]]
    num_classes = len(num_truths)
    edges = np.searchsorted(detections.labels[order], np.arange(num_classes + 1))
    ap_11point, ap_area = np.full((2, num_classes), np.nan)
    envelope_RC = np.full((len(CURVE_RECALLS), num_classes), np.nan)
    right_SC, wrong_SC = (np.zeros((len(SCORES), num_classes), np.int64) for _ in range(2))
    for label in range(num_classes):
        mine = order[edges[label] : edges[label + 1]]
        hits = np.cumsum(np.append(0, right_N[mine]))
        found_S = np.searchsorted(-detections.scores[mine], -SCORES, side="right")
        right_SC[:, label], wrong_SC[:, label] = hits[found_S], found_S - hits[found_S]
        if num_truths[label]:
            ap_11point[label], ap_area[label], envelope_RC[:, label] = _curve(right_N[mine], num_truths[label])
    return VocScores(ap_11point, ap_area, num_truths, envelope_RC, right_SC, wrong_SC)


def pairs(detections: Detections, truths: Truths, num_classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each detection with each truth of its image and class, as rows [P], [P].

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
    return np.repeat(np.arange(len(group_N)), count_N), by_group[place_P]


def best_of_pairs(
    detection_P: NDArray[np.int64], truth_P: NDArray[np.int64], iou_P: NDArray[np.float64], num_detections: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """[N] the truth that a detection overlaps most, the first of equals (-1: it is in no pair), [N] that IoU (0)."""
    iou_N, truth_N = np.zeros(num_detections), np.full(num_detections, -1)
    np.maximum.at(iou_N, detection_P, iou_P)
    best_P = np.flatnonzero(iou_P == iou_N[detection_P])[::-1]  # of assignments to one place the last one stays
    truth_N[detection_P[best_P]] = truth_P[best_P]
    return truth_N, iou_N


def iou_of_pairs(a_xyxy: NDArray[np.float64], b_xyxy: NDArray[np.float64]) -> NDArray[np.float64]:
    """[P, 4], [P, 4] -> [P], row by row (`data.images.boxes.iou` is all against all)."""
    sides = np.minimum(a_xyxy[:, 2:], b_xyxy[:, 2:]) - np.maximum(a_xyxy[:, :2], b_xyxy[:, :2])
    overlap = np.clip(sides, 0, None).prod(-1)
    area_a, area_b = ((boxes[:, 2:] - boxes[:, :2]).prod(-1) for boxes in (a_xyxy, b_xyxy))
    union = area_a + area_b - overlap
    return np.asarray(overlap / np.where(union > 0, union, 1))


def _curve(right_N: NDArray[np.bool_], num_truths: int) -> tuple[float, float, NDArray[np.float64]]:
    """11-point AP, area, and the envelope at CURVE_RECALLS, from the verdicts of one class in descending score."""
    hits = np.cumsum(right_N)
    precision = hits / np.arange(1, len(hits) + 1)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)  # best precision from here on
    recall = hits / num_truths
    # first row with recall >= t; past the end: never
    eleven, curve_R = (envelope[np.searchsorted(recall, at)] for at in (RECALLS, CURVE_RECALLS))
    # Recall grows by 1 / num_truths at every hit: sum, then divide once, and a perfect score is exactly 1.0.
    return float(eleven.mean()), float(envelope[:-1][right_N].sum() / num_truths), curve_R


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
