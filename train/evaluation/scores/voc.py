"""Average precision by the VOC devkit's rules, from every detection and every truth of a set at once.

The last step from shard to score, in numpy: no network, no device, no process group. Boxes have continuous edges, so a
width x2 - x1 is the devkit's xmax - xmin + 1: its "+1 convention" is implied, and there is no +1 below.

C classes, N detections, M truths, P pairs of a detection and a truth of the same image and class, S score thresholds, R
recalls.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.images.boxes import iou
from train.evaluation.scores.pairs import best_of_pairs, pairs
from train.evaluation.scores.tables import Detections, Truths, mean_of_known

# voc_eval's own arange, not tenths: 3 * 0.1 > 0.3, so a recall of 3/10 misses the fourth threshold.
RECALLS = np.arange(0.0, 1.1, 0.1)
SCORES = np.linspace(0, 1, 101)
CURVE_RECALLS = np.linspace(0, 1, 101)


class Verdicts(NamedTuple):
    """The verdict on each detection; neither right nor ignored means wrong."""

    truth_N: NDArray[np.int64]  # the one of its image and class that it overlaps most; -1: none
    iou_N: NDArray[np.float64]  # with that truth
    right_N: NDArray[np.bool_]
    ignored_N: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class VocScores:
    """Scores; nan for a class without truths that count, which the means leave out."""

    ap_11point: NDArray[np.float64]  #: [C] VOC2007: mean of the best precision at recall >= 0, .1, .. 1
    ap_area: NDArray[np.float64]  #: [C] VOC2010 on: area under the precision envelope
    num_truths: NDArray[np.int64]  #: [C] without the ignored ones
    envelope_RC: NDArray[np.float64]  #: best precision at this recall (CURVE_RECALLS) or a higher one
    right_SC: NDArray[np.int64]  #: right detections with at least this score (SCORES)
    wrong_SC: NDArray[np.int64]  #: wrong ones

    @property
    def map_11point(self) -> float:
        return mean_of_known(self.ap_11point)

    @property
    def map_area(self) -> float:
        return mean_of_known(self.ap_area)

    def means(self) -> Iterator[tuple[str, float]]:
        yield "mAP/voc_area", self.map_area
        yield "mAP/voc_11point", self.map_11point

    def of_classes(self) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """Name and [C] values of each score."""
        best_C, f1_C, known_C = self.f1_SC.argmax(0), self.f1_SC.max(0), self.num_truths > 0
        yield "AP@.5", self.ap_area
        yield "AP@.5 (11-point)", self.ap_11point
        yield "best F1", np.where(known_C, f1_C, np.nan)
        yield "at score", np.where(f1_C > 0, SCORES[best_C], np.nan)  # no threshold is best if nothing is right

    @property
    def precision_SC(self) -> NDArray[np.float64]:
        """Precision; 1 if nothing is found."""
        found_SC = self.right_SC + self.wrong_SC
        return np.asarray(np.where(found_SC > 0, self.right_SC / np.maximum(found_SC, 1), 1.0))

    @property
    def recall_SC(self) -> NDArray[np.float64]:
        """Recall; 0 for classes without truths."""
        return np.asarray(self.right_SC / np.maximum(self.num_truths, 1))

    @property
    def f1_SC(self) -> NDArray[np.float64]:
        return np.asarray(2 * self.right_SC / np.maximum(self.right_SC + self.wrong_SC + self.num_truths, 1))


def voc_ap(detections: Detections, truths: Truths, num_classes: int, iou_threshold: float = 0.5) -> VocScores:
    """VOC's scores of detections: `judge`, then `voc_scores`."""
    verdicts = judge(detections, truths, num_classes, iou_threshold)
    num_truths = np.bincount(truths.labels[~truths.ignored], minlength=num_classes)
    return voc_scores(detections, verdicts.right_N, ~verdicts.ignored_N, num_truths)


def judge(detections: Detections, truths: Truths, num_classes: int, iou_threshold: float = 0.5) -> Verdicts:
    """Decides which detections are right, by the devkit's rule, as in py-faster-rcnn's `voc_eval`.

    Each detection claims the truth of its image and class with the largest IoU, ignored ones included, the first of
    equals. If the IoU is above the threshold (not at it), a detection of an ignored truth does not count; of any other
    truth, the first detection that claims it is right, later ones are wrong. All else is wrong. First means highest
    score; `ranking` has the order of equal ones.
    """
    detection_P, truth_P = pairs(detections, truths, num_classes)
    iou_P = iou(detections.boxes_xyxy_px[detection_P], truths.boxes_xyxy_px[truth_P])
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

    Equal scores: lower image number, then earlier in the input, so the result does not depend on how the detections
    of the ranks were joined. Differs: voc_eval's argsort leaves equal scores to numpy and the CPU, worth up to
    2.2e-6 of a class's AP on VOC2007 test.
    """
    # lexsort is stable, its last key is the primary one
    return np.lexsort((detections.images, -detections.scores, detections.labels))


def voc_scores(
    detections: Detections, right_N: NDArray[np.bool_], counted_N: NDArray[np.bool_], num_truths: NDArray[np.int64]
) -> VocScores:
    """Scores from verdicts: which detections are right, and which count. num_truths: [C]."""
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
