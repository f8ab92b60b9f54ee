"""Pairs each detection with each truth that it may have found, as two columns of row numbers.

N detections, M truths, P pairs of a detection and a truth of the same image and class
"""

import numpy as np
from numpy.typing import NDArray

from train.evaluation.scores.tables import Detections, Truths, refuse


def pairs(detections: Detections, truths: Truths, num_classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each detection with each truth of its image and class, as rows [P], [P].

    In the order of the detections; the truths of each in the order of the input.
    """
    for table in (detections, truths):
        problem = f"expected 0..{num_classes - 1}; use the network's own classes, leave out free truth slots (-1)"
        refuse(table, (table.labels < 0) | (table.labels >= num_classes), "labels", problem)
    group_N = detections.images * num_classes + detections.labels
    group_M = truths.images * num_classes + truths.labels
    by_group = np.argsort(group_M, kind="stable")
    start_N, stop_N = (np.searchsorted(group_M[by_group], group_N, side=side) for side in ("left", "right"))
    count_N = stop_N - start_N
    run_starts = np.cumsum(count_N) - count_N
    row_P = np.arange(count_N.sum()) + np.repeat(start_N - run_starts, count_N)  # in by_group
    return np.repeat(np.arange(len(group_N)), count_N), by_group[row_P]


def best_of_pairs(
    detection_P: NDArray[np.int64], truth_P: NDArray[np.int64], iou_P: NDArray[np.float64], num_detections: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """[N] the truth each detection overlaps most, the first among equals (-1 without a pair), and [N] that IoU (0)."""
    iou_N, truth_N = np.zeros(num_detections), np.full(num_detections, -1)
    np.maximum.at(iou_N, detection_P, iou_P)
    best_P = np.flatnonzero(iou_P == iou_N[detection_P])[::-1]  # the last of several assignments to an element stays
    truth_N[detection_P[best_P]] = truth_P[best_P]
    return truth_N, iou_N
