import numpy as np
import pytest

from train.evaluation.scores.tables import Detections, Truths
from train.reports.calibration import LEAST_SCORE, calibrate

BOX = [0.0, 0.0, 10.0, 10.0]


def scene(right: list[float], wrong: list[float], ignored: list[float] = ()) -> tuple[Detections, Truths]:  # type: ignore[assignment]
    """An image for each detection: with its truth, without one, or with an ignored one."""
    scores = np.array([*right, *wrong, *ignored])
    images = np.arange(len(scores))
    there = np.concatenate([images[: len(right)], images[len(right) + len(wrong) :]])
    no, zeros = np.zeros(len(there), bool), np.zeros(len(there), np.int64)
    truths = Truths(
        there, zeros, np.array([BOX] * len(there)).reshape(-1, 4), np.ones(len(there)), there >= len(right), no
    )
    return Detections(images, np.zeros(len(scores), np.int64), scores, np.array([BOX] * len(scores))), truths


def test_scores_that_are_the_share_that_is_right_have_no_error() -> None:
    found = calibrate(*scene(right=[0.75] * 3, wrong=[0.75]), 1)
    assert found.error == pytest.approx(0) and found.count_B.tolist() == [0, 0, 0, 0, 0, 0, 0, 4, 0, 0]
    assert found.precision_B[7] == 0.75 and np.isnan(found.precision_B[0])


def test_the_error_is_weighted_by_how_many_there_are() -> None:
    found = calibrate(*scene(right=[0.5], wrong=[0.5, 0.5, 0.9]), 1)
    # three at .5 of which a third is right, one at .9 of which none is
    assert found.error == pytest.approx((3 * (0.5 - 1 / 3) + 0.9) / 4)


def test_faint_and_ignored_ones_do_not_count() -> None:
    assert np.isnan(calibrate(*scene(right=[], wrong=[LEAST_SCORE / 2], ignored=[0.9]), 1).error)


def test_the_ends_of_the_range_belong_to_it() -> None:
    found = calibrate(*scene(right=[1.0, 0.1], wrong=[]), 1)
    assert found.count_B[0] == 1 and found.count_B[-1] == 1
