import numpy as np
import pytest

from train.evaluation.scores.pairs import best_of_pairs, pairs
from train.evaluation.scores.tables import Detections, Truths


def tables(num_detections: int, num_truths: int, seed: int) -> tuple[Detections, Truths]:
    random = np.random.default_rng(seed)

    def boxes(count: int) -> np.ndarray:
        low = random.uniform(0, 50, (count, 2))
        return np.concatenate([low, low + random.uniform(1, 50, (count, 2))], axis=1)

    def keys(count: int) -> tuple[np.ndarray, np.ndarray]:
        return random.integers(0, 4, count), random.integers(0, 3, count)

    no = np.zeros(num_truths, bool)
    return (
        Detections(*keys(num_detections), random.random(num_detections), boxes(num_detections)),
        Truths(*keys(num_truths), boxes(num_truths), np.ones(num_truths), no, no),
    )


@pytest.mark.parametrize("seed", range(5))
def test_pairs_are_those_of_two_loops(seed: int) -> None:
    found, truths = tables(17, 11, seed)
    expected = [
        (n, m)
        for n in range(17)
        for m in range(11)
        if (found.images[n], found.labels[n]) == (truths.images[m], truths.labels[m])
    ]
    detection_P, truth_P = pairs(found, truths, 3)
    assert list(zip(detection_P.tolist(), truth_P.tolist(), strict=True)) == expected


def test_of_equal_overlaps_the_first_is_the_best() -> None:
    truth_N, iou_N = best_of_pairs(np.array([0, 0, 0, 2]), np.array([5, 6, 7, 8]), np.array([0.25, 0.5, 0.5, 0.0]), 3)
    assert truth_N.tolist() == [6, -1, 8] and iou_N.tolist() == [0.5, 0, 0]


def test_a_label_of_no_class_is_refused() -> None:
    found, truths = tables(3, 3, 0)
    with pytest.raises(ValueError, match=r"labels 2, expected 0\.\.1"):
        pairs(Detections(found.images, np.full(3, 2), found.scores, found.boxes_xyxy_px), truths, 2)
