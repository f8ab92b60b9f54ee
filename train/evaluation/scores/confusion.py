"""The confusion matrix of detection: which class objects were taken for, with the background as one more class.

Each detection above a score is paired with the truth that it overlaps most, whatever the classes; the pair with the
largest IoU first, each detection and each truth once. A truth without a pair was taken for background, a detection
without one is background taken for its class. Detections paired with ignored truths do not count.

C classes, N detections, M truths, P pairs of a detection and a truth of the same image
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from data.images.boxes import iou
from train.evaluation.scores.pairs import pairs
from train.evaluation.scores.tables import Detections, Truths, rows

LEAST_SCORE = 0.25
LEAST_IOU = 0.5


def confusion_matrix(
    detections: Detections, truths: Truths, num_classes: int, least_score: float = LEAST_SCORE
) -> NDArray[np.int64]:
    """[C + 1, C + 1] counts: rows are true classes, columns detected ones; the last of each is the background."""
    found = rows(detections, detections.scores >= least_score)
    detection_P, truth_P, iou_P = _overlapping(found, truths)
    order = np.lexsort((-found.scores[detection_P], -iou_P))
    truth_N = np.full(len(found.labels), -1)
    taken_M = np.zeros(len(truths.labels), np.bool_)
    for detection, truth in zip(detection_P[order].tolist(), truth_P[order].tolist(), strict=True):
        if truth_N[detection] < 0 and not (taken_M[truth] and not truths.ignored[truth]):
            truth_N[detection], taken_M[truth] = truth, True
    there_N = np.append(truths.labels, num_classes)[truth_N]  # -1 reads the background
    counted_N = ~np.append(truths.ignored, False)[truth_N]
    counts = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    np.add.at(counts, (there_N[counted_N], found.labels[counted_N]), 1)
    missed_M = ~taken_M & ~truths.ignored
    counts[:num_classes, num_classes] = np.bincount(truths.labels[missed_M], minlength=num_classes)
    return counts


def _overlapping(found: Detections, truths: Truths) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of any classes that overlap enough, and their IoU."""
    alike = replace(found, labels=np.zeros_like(found.labels)), replace(truths, labels=np.zeros_like(truths.labels))
    detection_P, truth_P = pairs(*alike, 1)
    iou_P = iou(found.boxes_xyxy_px[detection_P], truths.boxes_xyxy_px[truth_P])
    near_P = iou_P >= LEAST_IOU
    return detection_P[near_P], truth_P[near_P], iou_P[near_P]
