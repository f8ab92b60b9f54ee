"""Average precision and recall by COCO's rules, equal to the last bit to pycocotools' twelve numbers.

`match` finds the truth that each detection claims, image by image, so each process can match its own share.
`coco_scores` ranks the matches of all processes and counts. The ten IoU thresholds are ten bits of an integer, so that
a truth is claimed at all ten at once.

    N detections  M truths  P pairs of a detection and a truth of the same image and class  C classes
    T = 10 IoU thresholds  R = 101 recalls  A = 4 ranges of area
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from train.evaluation.scores.pairs import pairs
from train.evaluation.scores.tables import Detections, Truths, mean_of_known, rows, xywh_from_xyxy

IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
AREAS_PX = [(0, 1e5**2), (0, 32**2), (32**2, 96**2), (96**2, 1e5**2)]  # all, small, medium, large; both ends inclusive
MAX_DETECTIONS = 100  # of one image and class; the others are ignored
RECALL_SETTINGS = [(0, 1), (0, 10), (0, 100), (1, 100), (2, 100), (3, 100)]  # index in AREAS_PX, detections of an image
NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
SIZES = ("small", "medium", "large")
ALL_IOUS = np.uint16(2 ** len(IOUS) - 1)  # all bits set


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """The truths that detections found, flat; detections of an image and class best first."""

    images: NDArray[np.int64]  #: [N] their order breaks ties of scores
    labels: NDArray[np.int64]  #: [N]
    scores: NDArray[np.float64]  #: [N]
    ranks: NDArray[np.int64]  #: [N] 0: the best of its image and class
    right: NDArray[np.uint16]  #: [N, A] bit t: found an object at IOUS[t]
    ignored: NDArray[np.uint16]  #: [N, A] bit t: neither right nor wrong; no bit in either: wrong

    @classmethod
    def concatenate(cls, parts: Sequence["Matches"]) -> "Matches":
        """Joins all parts. If each image is in one part only, their order changes no score."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


@dataclass(frozen=True, slots=True, eq=False)
class CocoScores:
    """Scores; nan without truths that count (pycocotools: -1), and not part of the means."""

    twelve: NDArray[np.float64]  #: [12] as NAMES
    precision_TRC: NDArray[np.float64]  #: for all areas: the best at this recall or a higher one
    ap_AC: NDArray[np.float64]  #: for each range of areas and class, mean over thresholds and recalls

    @property
    def ap(self) -> float:
        """The main number: mean over classes, thresholds .50:.05:.95 and recalls."""
        return float(self.twelve[0])

    def means(self) -> Iterator[tuple[str, float]]:
        yield "mAP/coco", self.ap
        for name, value in zip(NAMES, self.twelve.tolist(), strict=True):
            yield f"coco/{name}", value

    def of_classes(self) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """Name and [C] values of each score."""
        yield from zip(("AP@[.5:.95]", *(f"AP@[.5:.95] {size}" for size in SIZES)), self.ap_AC, strict=True)


def coco_ap(detections: Detections, truths: Truths, num_classes: int) -> CocoScores:
    """COCO's scores of detections. Difficult objects are ignored as crowds are, but each can be found only once."""
    return coco_scores(match(detections, truths, num_classes), truths, num_classes)


def match(detections: Detections, truths: Truths, num_classes: int) -> Matches:
    """Matches detections, best first: each claims the free truth with the largest IoU, the last among equals.

    Truths that count come before ignored ones, whatever the IoU. A crowd always stays free.
    """
    group_N = detections.images * num_classes + detections.labels
    order_N = np.lexsort((-detections.scores, group_N))
    group_N = group_N[order_N]
    rank_N = np.arange(len(order_N)) - np.searchsorted(group_N, group_N)
    kept = rank_N < MAX_DETECTIONS
    order_N, group_N, rank_N = order_N[kept], group_N[kept], rank_N[kept]
    best = rows(detections, order_N)

    detection_P, truth_P = pairs(best, truths, num_classes)
    boxes_xywh_px = xywh_from_xyxy(best.boxes_xyxy_px)
    iou_P = _iou(boxes_xywh_px[detection_P], xywh_from_xyxy(truths.boxes_xyxy_px)[truth_P], truths.crowd[truth_P])
    near_P = np.flatnonzero(iou_P >= IOUS[0])
    near_P = near_P[np.lexsort((-truth_P[near_P], -iou_P[near_P], detection_P[near_P]))]
    detection_P, truth_P = detection_P[near_P], truth_P[near_P]
    bits_P = (2 ** np.searchsorted(IOUS, iou_P[near_P], side="right") - 1).astype(np.uint16)

    area_N = boxes_xywh_px[:, 2] * boxes_xywh_px[:, 3]
    right_NA, ignored_NA = (np.zeros((len(order_N), len(AREAS_PX)), np.uint16) for _ in range(2))
    for a, (low, high) in enumerate(AREAS_PX):
        ignored_M = _ignored(truths, low, high)
        order_P = np.argsort(2 * detection_P + ignored_M[truth_P], kind="stable")
        claimed_N, right_N = _claim(
            detection_P[order_P], truth_P[order_P], bits_P[order_P], group_N, ignored_M, truths.crowd
        )
        outside_N = (area_N < low) | (area_N > high)
        right_NA[:, a] = right_N
        ignored_NA[:, a] = (claimed_N & ~right_N) | np.where(outside_N, ~claimed_N & ALL_IOUS, 0)
    return Matches(best.images, best.labels, best.scores, rank_N, right_NA, ignored_NA)


def _claim(
    detection_P: NDArray[np.int64],
    truth_P: NDArray[np.int64],
    bits_P: NDArray[np.uint16],
    group_N: NDArray[np.int64],
    ignored_M: NDArray[np.bool_],
    crowd_M: NDArray[np.bool_],
) -> tuple[NDArray[np.uint16], NDArray[np.uint16]]:
    """[N] thresholds at which a detection claimed a truth, and [N] those at which it is one that counts.

    Pairs come in the order in which claims are granted. Groups are independent: a round takes the next pair of every
    group.
    """
    claimed_N, right_N = np.zeros(len(group_N), np.uint16), np.zeros(len(group_N), np.uint16)
    taken_M = np.zeros(len(crowd_M), np.uint16)
    group_P = group_N[detection_P]
    round_P = np.arange(len(group_P)) - np.searchsorted(group_P, group_P)
    by_round = np.argsort(round_P, kind="stable")
    edges = np.concatenate([[0], np.cumsum(np.bincount(round_P))])
    for first, last in pairwise(edges):
        now = by_round[first:last]
        detection, truth = detection_P[now], truth_P[now]
        granted = bits_P[now] & ~claimed_N[detection] & ~taken_M[truth]
        claimed_N[detection] |= granted
        right_N[detection] |= np.where(ignored_M[truth], 0, granted)
        taken_M[truth] |= np.where(crowd_M[truth], 0, granted)
    return claimed_N, right_N


def coco_scores(matches: Matches, truths: Truths, num_classes: int) -> CocoScores:
    """Equal to pycocotools bit for bit if labels are in the order of category ids and images in that of their ids."""
    order_N = np.lexsort((matches.images, -matches.scores, matches.labels))
    edges = np.searchsorted(matches.labels[order_N], np.arange(num_classes + 1))
    thresholds = np.arange(len(IOUS), dtype=np.uint16)[:, None]
    precision_ATRC = np.full((len(AREAS_PX), len(IOUS), len(RECALLS), num_classes), np.nan)
    recall_TC = {which: np.full((len(IOUS), num_classes), np.nan) for which in RECALL_SETTINGS}
    for a, (low, high) in enumerate(AREAS_PX):
        num_truths = np.bincount(truths.labels[~_ignored(truths, low, high)], minlength=num_classes)
        for label in np.flatnonzero(num_truths):
            mine = order_N[edges[label] : edges[label + 1]]
            right_N = matches.right[mine, a]
            hits = np.flatnonzero(right_N)  # at any threshold: only there can a curve rise
            right_TH = right_N[hits] >> thresholds & 1
            ranked_TN = np.cumsum(~matches.ignored[mine, a] >> thresholds & 1, axis=1, dtype=np.int32)
            precision_ATRC[a, :, :, label] = _precision(right_TH, ranked_TN[:, hits], num_truths[label])
            for area, most in RECALL_SETTINGS:
                if area == a:
                    among_first = right_TH[:, matches.ranks[mine[hits]] < most]
                    recall_TC[area, most][:, label] = among_first.sum(axis=1) / num_truths[label]
    all_areas = precision_ATRC[0]
    averaged = [all_areas, all_areas[0], all_areas[5], *precision_ATRC[1:], *recall_TC.values()]
    ap_AC = mean_precision(precision_ATRC)
    return CocoScores(np.array([mean_of_known(values) for values in averaged]), all_areas, ap_AC)


def mean_precision(precision_ATRC: NDArray[np.float64]) -> NDArray[np.float64]:
    """[A, C] means over thresholds and recalls."""
    ranges, _, _, num_classes = precision_ATRC.shape
    in_one_order = np.ascontiguousarray(np.moveaxis(precision_ATRC, 3, 1))  # another order changes the sums' last bits
    return np.asarray(in_one_order.reshape(ranges, num_classes, -1).mean(-1))


def _precision(right_TH: NDArray[np.uint16], ranked_TH: NDArray[np.int32], num_truths: int) -> NDArray[np.float64]:
    """[T, R] precision from the verdicts of one class, best first, and the number of detections counted so far."""
    hits_TH = np.cumsum(right_TH, axis=1, dtype=np.float64)
    precision_TH = hits_TH / (ranked_TH + np.spacing(1))
    envelope_TH = np.maximum.accumulate(precision_TH[:, ::-1], axis=1)[:, ::-1]  # the best from here on
    envelope_TH = np.concatenate([envelope_TH, np.zeros((len(envelope_TH), 1))], axis=1)
    reached_TR = np.stack([np.searchsorted(hits_H / num_truths, RECALLS) for hits_H in hits_TH])  # past the end: never
    return np.take_along_axis(envelope_TH, reached_TR, axis=1)


def _ignored(truths: Truths, low_px: float, high_px: float) -> NDArray[np.bool_]:
    return truths.ignored | (truths.areas_px < low_px) | (truths.areas_px > high_px)


def _iou(
    detections_xywh: NDArray[np.float64], truths_xywh: NDArray[np.float64], crowd: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """[P, 4], [P, 4], [P] -> [P], in the arithmetic of maskApi.c. For a crowd: the share of the detection inside it."""
    low = np.maximum(detections_xywh[:, :2], truths_xywh[:, :2])
    high = np.minimum(detections_xywh[:, :2] + detections_xywh[:, 2:], truths_xywh[:, :2] + truths_xywh[:, 2:])
    overlap = np.clip(high - low, 0, None).prod(-1)
    area, of_truth = detections_xywh[:, 2:].prod(-1), truths_xywh[:, 2:].prod(-1)
    union = np.where(crowd, area, area + of_truth - overlap)
    return np.asarray(overlap / np.where(overlap > 0, union, 1))
