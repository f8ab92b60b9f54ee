"""Explains wrong detections and missed truths: TIDE's kinds of errors, and what mAP loses to each.

Bolya, Foley, Hays, Hoffman: "TIDE: A General Toolbox for Identifying Object Detection Errors" (arXiv 2008.08115, 2.2).
A wrong detection gets the first kind that fits. `own` is its largest IoU with a truth of its class, `other` with one
of another class; ignored truths are excluded.

    localisation  .1 <= own <= .5
    confusion     other >= .5
    duplicate     own > .5: a better detection has that truth
    background    own, other <= .1
    both          all else: another class, and badly placed
    missed        a truth that is not found, and involved in no localisation or confusion

A kind costs what mAP@.5 (area) gains when all errors of that kind alone are corrected (2.3). Localisations and
confusions become right if their truth is still free, the best one for each truth; all other wrong detections are
removed; missed truths no longer count. The costs do not add up to the total loss: corrections overlap.

Differs from the authors' tidecv: right is what VOC's rule calls right (`judge` in voc.py), AP is the area under the
curve instead of 101 points, and a class of which nothing is found keeps its AP of 0.

N detections, M truths, K kinds, C classes
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.images.boxes import iou
from train.evaluation.scores.pairs import best_of_pairs, pairs
from train.evaluation.scores.tables import Detections, Truths, rows
from train.evaluation.scores.voc import Verdicts, judge, voc_scores

KINDS = ("localisation", "confusion", "duplicate", "background", "both", "missed")
LOCALISATION, CONFUSION, DUPLICATE, BACKGROUND, BOTH, MISSED = range(len(KINDS))
FAINT_IOU = 0.1
AT_ONCE = 50_000  # detections


class Errors(NamedTuple):
    kind_N: NDArray[np.int64]  # index in KINDS, -1 for right or ignored detections
    missed_M: NDArray[np.bool_]
    counts_KC: NDArray[np.int64]  # by detected class; missed: by the truth's class
    cost_K: NDArray[np.float64]  # 0..1, of mAP@.5 (area)


def find_errors(detections: Detections, truths: Truths, num_classes: int, iou_threshold: float = 0.5) -> Errors:
    """Sorts errors by kind, and computes what mAP gains when each kind is corrected."""
    verdicts = judge(detections, truths, num_classes, iou_threshold)
    kind_N, about_N = _kinds(detections, truths, verdicts, iou_threshold)
    free_M = ~truths.ignored
    free_M[verdicts.truth_N[verdicts.right_N]] = False
    missed_M = free_M.copy()
    missed_M[about_N[about_N >= 0]] = False
    kinds_KC = [np.bincount(detections.labels[kind_N == kind], minlength=num_classes) for kind in range(MISSED)]
    missed_C = np.bincount(truths.labels[missed_M], minlength=num_classes)

    repaired_N = _best_for_each(detections, np.where(np.append(free_M, False)[about_N], about_N, -1))
    labels_N = np.append(truths.labels, -1)[about_N]
    truths_C = np.bincount(truths.labels[~truths.ignored], minlength=num_classes)

    def map_after(repair_N: NDArray[np.bool_], left_C: NDArray[np.int64]) -> float:
        """mAP with these detections corrected or removed, and this many truths; 0 if there is nothing to find."""
        right_N = repair_N & repaired_N
        corrected = replace(detections, labels=np.where(right_N, labels_N, detections.labels))
        counted_N = ~verdicts.ignored_N & (~repair_N | right_N)
        return float(np.nan_to_num(voc_scores(corrected, verdicts.right_N | right_N, counted_N, left_C).map_area))

    nothing_N = np.zeros_like(repaired_N)
    after = [map_after(kind_N == kind, truths_C) for kind in range(MISSED)]
    after.append(map_after(nothing_N, np.maximum(truths_C - missed_C, np.minimum(truths_C, 1))))
    return Errors(kind_N, missed_M, np.stack([*kinds_KC, missed_C]), np.array(after) - map_after(nothing_N, truths_C))


def _kinds(
    detections: Detections, truths: Truths, verdicts: Verdicts, iou_threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """[N] kinds, and [N] the truth of a localisation or confusion, -1 for all else."""
    wrong = np.flatnonzero(~verdicts.right_N & ~verdicts.ignored_N)
    own, own_truth, other, other_truth = _overlaps(rows(detections, wrong), truths)
    tests = {
        LOCALISATION: (own >= FAINT_IOU) & (own <= iou_threshold),
        CONFUSION: other >= iou_threshold,
        DUPLICATE: own > iou_threshold,
        BACKGROUND: np.maximum(own, other) <= FAINT_IOU,
    }
    kind = np.select(list(tests.values()), list(tests), BOTH)
    kind_N, about_N = (np.full(len(detections.labels), -1) for _ in range(2))
    kind_N[wrong] = kind
    about_N[wrong] = np.select([kind == LOCALISATION, kind == CONFUSION], [own_truth, other_truth], -1)
    return kind_N, about_N


class _Overlaps(NamedTuple):
    """The truths that a detection overlaps most, of its own and of other classes, and their IoU; -1 and 0: none."""

    own: NDArray[np.float64]
    own_truth: NDArray[np.int64]
    other: NDArray[np.float64]
    other_truth: NDArray[np.int64]


def _overlaps(wrong: Detections, truths: Truths) -> _Overlaps:
    counted = np.flatnonzero(~truths.ignored)
    unlabelled = replace(rows(truths, counted), labels=np.zeros_like(counted))
    parts = []
    for first in range(0, max(len(wrong.labels), 1), AT_ONCE):  # some 100 bytes for each truth of an image
        some = rows(wrong, np.arange(first, min(first + AT_ONCE, len(wrong.labels))))
        detection_P, row_P = pairs(replace(some, labels=np.zeros_like(some.labels)), unlabelled, 1)
        truth_P = counted[row_P]
        iou_P = iou(some.boxes_xyxy_px[detection_P], truths.boxes_xyxy_px[truth_P])
        same_P, count = some.labels[detection_P] == truths.labels[truth_P], len(some.labels)
        own_truth, own = best_of_pairs(detection_P[same_P], truth_P[same_P], iou_P[same_P], count)
        other_truth, other = best_of_pairs(detection_P[~same_P], truth_P[~same_P], iou_P[~same_P], count)
        parts.append((own, own_truth, other, other_truth))
    return _Overlaps(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _best_for_each(detections: Detections, truth_N: NDArray[np.int64]) -> NDArray[np.bool_]:
    """[N] whether a detection has the highest score among those with the same truth; -1: no truth."""
    order = np.lexsort((detections.images, -detections.scores))
    order = order[truth_N[order] >= 0]
    best_N = np.zeros(len(truth_N), np.bool_)
    best_N[order[np.unique(truth_N[order], return_index=True)[1]]] = True
    return best_N
