"""Reliability of scores: whether a score of .7 is right in 7 of 10 cases, and how far off scores are on average.

The expected calibration error (Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2) of detections: a
detection is right by VOC's rule at IoU .5. Those below LEAST_SCORE are left out: they are so many that they alone would
decide the result, and nobody uses them.

N detections, B bins of the score
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from train.evaluation.scores.tables import Detections, Truths
from train.evaluation.scores.voc import judge

LEAST_SCORE = 0.1
EDGES = np.linspace(0, 1, 11)


class Calibration(NamedTuple):
    count_B: NDArray[np.int64]  # between EDGES, upper edges inclusive
    score_B: NDArray[np.float64]  # mean; nan if there are none
    precision_B: NDArray[np.float64]  # share that is right; nan if there are none

    @property
    def error(self) -> float:
        """Expected calibration error, 0..1; nan without detections."""
        if not self.count_B.any():
            return np.nan
        return float(np.nansum(self.count_B * np.abs(self.score_B - self.precision_B)) / self.count_B.sum())


def calibrate(detections: Detections, truths: Truths, num_classes: int) -> Calibration:
    """Mean score and precision of the detections in each bin of the score."""
    verdicts = judge(detections, truths, num_classes)
    counted_N = ~verdicts.ignored_N & (detections.scores >= LEAST_SCORE)
    scores, right = detections.scores[counted_N], verdicts.right_N[counted_N]
    bin_N = np.clip(np.searchsorted(EDGES, scores) - 1, 0, len(EDGES) - 2)
    count_B, sum_B, right_B = (
        np.bincount(bin_N, weights, len(EDGES) - 1) for weights in (None, scores, right.astype(np.float64))
    )
    least_one = np.where(count_B > 0, count_B, np.nan)
    return Calibration(count_B.astype(np.int64), sum_B / least_one, right_B / least_one)
