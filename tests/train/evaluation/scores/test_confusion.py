import numpy as np
import pytest

from data.images.boxes import iou
from train.evaluation.scores.confusion import LEAST_IOU, confusion_matrix
from train.evaluation.scores.tables import Detections, Truths

A, B, C = (0.0, 0.0, 40.0, 40.0), (100.0, 0.0, 140.0, 40.0), (0.0, 100.0, 40.0, 140.0)
NEAR_A = (4.0, 0.0, 44.0, 40.0)


def detections(*rows: tuple[int, int, float, tuple[float, ...]]) -> Detections:
    images, labels, scores, boxes = zip(*rows, strict=True)
    return Detections(np.array(images), np.array(labels), np.array(scores, float), np.array(boxes, float))


def truths(*rows: tuple[int, int, tuple[float, ...], bool]) -> Truths:
    images, labels, boxes, ignored = (np.array(column) for column in zip(*rows, strict=True))
    return Truths(images, labels, boxes.astype(float), np.ones(len(images)), ignored, np.zeros(len(images), bool))


def test_each_kind_of_answer_has_its_place() -> None:
    there = truths((0, 0, A, False), (0, 1, B, False), (1, 1, A, False), (1, 0, C, True))
    found = detections(
        (0, 0, 0.9, A),  # right
        (0, 0, 0.8, B),  # taken for another class
        (0, 1, 0.7, C),  # background: that truth is in another image
        (1, 1, 0.2, A),  # too faint: missed
        (1, 1, 0.9, C),  # on an ignored truth: out of the count
    )
    assert confusion_matrix(found, there, 2).tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]


def test_a_truth_is_found_once_by_what_overlaps_it_most() -> None:
    there = truths((0, 0, A, False))
    found = detections((0, 1, 0.9, NEAR_A), (0, 0, 0.5, A))
    assert confusion_matrix(found, there, 2).tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    assert confusion_matrix(detections((0, 0, 0.9, A), (0, 0, 0.5, A)), there, 1).tolist() == [[1, 0], [1, 0]]


def test_an_ignored_truth_takes_any_number_out_of_the_count() -> None:
    there = truths((0, 0, A, True))
    assert confusion_matrix(detections((0, 0, 0.9, A), (0, 1, 0.5, NEAR_A)), there, 2).sum() == 0


def loops(found: Detections, there: Truths, num_classes: int) -> np.ndarray:
    """The same, the slow way."""
    counts = np.zeros((num_classes + 1, num_classes + 1), int)
    shown = [n for n in range(len(found.labels)) if found.scores[n] >= 0.25]
    candidates = []
    for n in shown:
        for m in range(len(there.labels)):
            overlap = iou(found.boxes_xyxy_px[[n]], there.boxes_xyxy_px[[m]])[0]
            if found.images[n] == there.images[m] and overlap >= LEAST_IOU:
                candidates.append((-overlap, -found.scores[n], n, m))
    partner: dict[int, int] = {}
    for _, _, n, m in sorted(candidates):
        if n not in partner and (there.ignored[m] or m not in partner.values()):
            partner[n] = m
    for n in shown:
        if n not in partner:
            counts[num_classes, found.labels[n]] += 1
        elif not there.ignored[partner[n]]:
            counts[there.labels[partner[n]], found.labels[n]] += 1
    for m in range(len(there.labels)):
        if m not in partner.values() and not there.ignored[m]:
            counts[there.labels[m], num_classes] += 1
    return counts


@pytest.mark.parametrize("seed", range(8))
def test_equals_the_plain_loops(seed: int) -> None:
    random = np.random.default_rng(seed)

    def boxes(count: int) -> np.ndarray:
        low = random.uniform(0, 30, (count, 2))
        return np.concatenate([low, low + random.uniform(20, 40, (count, 2))], axis=1)

    n, m = 40, 15
    found = Detections(random.integers(0, 3, n), random.integers(0, 3, n), random.random(n), boxes(n))
    ignored = random.random(m) < 0.2
    there = Truths(random.integers(0, 3, m), random.integers(0, 3, m), boxes(m), np.ones(m), ignored, ignored)
    assert confusion_matrix(found, there, 3).tolist() == loops(found, there, 3).tolist()


def test_nothing_found_is_all_background() -> None:
    there = truths((0, 0, A, False), (0, 1, B, False))
    assert confusion_matrix(Detections.empty(), there, 2).tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0]]
