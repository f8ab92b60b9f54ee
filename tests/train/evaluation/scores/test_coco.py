"""COCO's numbers: by hand, against pycocotools to the last bit, and the published ones of its own example."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from train.evaluation.scores.coco import NAMES, Matches, coco_ap, coco_scores, match
from train.evaluation.scores.coco_reference import reference_scores
from train.evaluation.scores.tables import Detections, Truths

BOX = (100.0, 100.0, 200.0, 200.0)  # large
FAR = (300.0, 300.0, 340.0, 340.0)  # medium
PUBLISHED = {
    "AP": 0.504581, "AP50": 0.696973, "AP75": 0.572982, "APs": 0.585626, "APm": 0.519400, "APl": 0.501398,
    "AR1": 0.386813, "AR10": 0.593680, "AR100": 0.595353, "ARs": 0.639811, "ARm": 0.566421, "ARl": 0.564291,
}  # fmt: skip


def detections(*rows):
    """Rows: image, label, score, box."""
    images, labels, scores, boxes = map(np.array, zip(*rows, strict=True))
    return Detections(images, labels, scores.astype(float), boxes.astype(float))


def truths(*rows, areas=None):
    """Rows: image, label, box, "", "crowd" or "difficult"."""
    images, labels, boxes, kinds = map(np.array, zip(*rows, strict=True))
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) if areas is None else np.array(areas)
    return Truths(images, labels, boxes.astype(float), areas, kinds == "difficult", kinds == "crowd")


def score(found, truth, num_classes=1):
    """Cases by name; every case by hand is also one against pycocotools."""
    scores = coco_ap(found, truth, num_classes)
    assert_equal_bits(scores, reference_scores(found, truth, num_classes))
    return dict(zip(NAMES, scores.twelve.tolist(), strict=True))


def assert_equal_bits(one, other):
    np.testing.assert_array_equal(one.twelve, other.twelve)
    np.testing.assert_array_equal(one.precision_TRC, other.precision_TRC)
    np.testing.assert_array_equal(one.ap_AC, other.ap_AC)


def rows_of(table, chosen):
    return type(table)(*(getattr(table, field.name)[chosen] for field in dataclasses.fields(table)))


def right(found, truth, image=0, label=0):
    """Which of the detections of an image and class, best first, found an object at IoU .5."""
    matches = match(found, truth, 2)
    return (matches.right[(matches.images == image) & (matches.labels == label), 0] & 1).tolist()


# --- by hand ---


def test_an_overlap_is_right_up_to_its_iou():
    found = detections((0, 0, 0.9, (100.0, 100.0, 200.0, 175.0)), (1, 0, 0.8, BOX))
    scores = score(found, truths((0, 0, BOX, ""), (1, 0, BOX, "")))
    assert scores["AP50"] == scores["AP75"] == 1.0  # IoU is .75: at the threshold is enough
    assert scores["AR1"] == scores["AR100"] == pytest.approx((6 * 1 + 4 * 0.5) / 10)


def test_a_better_detection_comes_first_and_a_truth_is_found_once():
    truth = truths((0, 0, BOX, ""), (0, 1, BOX, ""))
    near = (110.0, 100.0, 200.0, 200.0)
    assert right(detections((0, 0, 0.8, BOX), (0, 0, 0.9, near)), truth) == [1, 0]
    assert right(detections((0, 0, 0.8, BOX), (0, 0, 0.8, near)), truth) == [1, 0]
    assert right(detections((0, 1, 0.8, BOX), (0, 0, 0.8, near)), truth) == [1]


def test_a_crowd_takes_any_number_out_and_comes_after_what_counts():
    inside = [(0, 0, 0.9 - n / 10, (110.0 + n, 110.0, 130.0 + n, 130.0)) for n in range(3)]
    truth = truths((0, 0, BOX, "crowd"), (0, 0, FAR, ""))
    assert score(detections(*inside, (0, 0, 0.1, FAR)), truth)["AR100"] == pytest.approx(1)
    assert score(detections(*inside, (0, 0, 0.1, FAR)), truth)["AP"] == pytest.approx(1)
    moved = (100.0, 100.0, 190.0, 200.0)
    assert right(detections((0, 0, 0.9, BOX)), truths((0, 0, BOX, "crowd"), (0, 0, moved, ""))) == [1]


def test_a_difficult_object_is_ignored_once():
    truth = truths((0, 0, BOX, "difficult"), (0, 0, FAR, ""))
    twice = [(0, 0, 0.9, BOX), (0, 0, 0.8, BOX), (0, 0, 0.7, FAR)]
    assert score(detections(*twice[::2]), truth)["AP50"] == pytest.approx(1)
    assert score(detections(*twice), truth)["AP50"] == pytest.approx(0.5)


def test_sizes_go_by_the_area_of_the_object_not_of_its_box():
    found, truth = detections((0, 0, 0.9, BOX), (0, 0, 0.8, FAR)), truths((0, 0, BOX, ""), areas=[1000.0])
    scores = score(found, truth)
    assert scores["ARs"] == 1 and scores["APs"] == pytest.approx(
        1
    )  # the other detection is of medium size: not counted
    assert np.isnan(scores["APm"]) and np.isnan(scores["ARl"])
    both = truths((0, 0, BOX, ""), areas=[32.0**2])
    assert score(found, both)["ARs"] == score(found, both)["ARm"] == 1.0  # on the edge it is of both


def test_of_an_image_and_class_the_hundred_best_count():
    wrong = [(0, 0, 0.9, FAR)] * 99
    assert right(detections(*wrong, (0, 0, 0.1, BOX)), truths((0, 0, BOX, "")))[99:] == [1]
    assert right(detections(*wrong, (0, 0, 0.9, FAR), (0, 0, 0.1, BOX)), truths((0, 0, BOX, "")))[99:] == [0]


def test_what_is_found_exactly_scores_exactly_one():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 300, (600, 2))
    boxes = np.concatenate([corner, corner + np.geomspace(10, 300, 600)[:, None]], axis=1)
    images, labels = np.arange(600) // 3, rng.integers(0, 4, 600)
    areas, none = (boxes[:, 2:] - boxes[:, :2]).prod(1), np.zeros(600, bool)
    scores = coco_ap(
        Detections(images, labels, rng.uniform(size=600), boxes), Truths(images, labels, boxes, areas, none, none), 4
    )
    assert scores.ap == 1.0 and (scores.ap_AC[0] == 1.0).all()
    assert (np.delete(scores.twelve, NAMES.index("AR1")) == 1.0).all()


def test_the_only_object_of_a_class_cannot_score_exactly_one():
    """pycocotools adds an epsilon to the number of detections, which counts while there is one."""
    scores = score(detections((0, 0, 0.9, BOX)), truths((0, 0, BOX, "")))
    assert scores["AP"] == 1 - 2**-52 and scores["AR1"] == 1.0


def test_nothing_found_is_zero_and_nothing_to_find_unknown():
    truth = truths((0, 1, BOX, ""), (0, 0, BOX, "crowd"))
    scores = coco_ap(Detections.empty(), truth, 3)
    assert_equal_bits(scores, reference_scores(Detections.empty(), truth, 3))
    assert scores.ap == 0.0 and scores.twelve[NAMES.index("AR100")] == 0.0
    np.testing.assert_array_equal(scores.ap_AC[0], [np.nan, 0.0, np.nan])
    for found in (Detections.empty(), detections((0, 2, 0.9, BOX))):
        scores = coco_ap(found, rows_of(truth, truth.crowd), 3)
        assert np.isnan(scores.twelve).all() and np.isnan(scores.ap)


def test_labels_of_another_set():
    with pytest.raises(ValueError, match=r"Detections row 0 \(image 0; 1 of 1 rows\): labels 3, expected 0\.\.2; use"):
        coco_ap(detections((0, 3, 0.9, BOX)), truths((0, 1, BOX, "")), 3)


# --- against pycocotools ---


def random_case(rng):
    """Corners on a grid, few scores, crowds, areas that are not of the box, empty boxes, over a hundred detections."""
    num_images, num_classes = rng.integers(1, 8), int(rng.integers(1, 5))
    unit, grid = rng.choice([1, 4, 13.7, 31.3, 1 / 3]), int(rng.choice([4, 8, 40]))

    def boxes(count):
        corner = rng.integers(0, grid, (count, 2)) * unit
        return np.concatenate([corner, corner + rng.integers(1, grid, (count, 2)) * unit], axis=1)

    count = int(rng.integers(0, rng.choice([3, 60])))
    truth_boxes = boxes(count)
    own = (truth_boxes[:, 2:] - truth_boxes[:, :2]).prod(1)
    truth = Truths(
        rng.integers(0, num_images, count),
        rng.integers(0, num_classes, count),
        truth_boxes,
        np.where(rng.random(count) < 0.5, own, rng.choice([0, 32.0**2, 96.0**2, 500, 5000, 1e10], count)),
        rng.random(count) < rng.choice([0, 0.2]),
        rng.random(count) < rng.choice([0, 0.2]),
    )
    count = int(rng.integers(0, rng.choice([5, 200, 1500])))
    images, labels, found = rng.integers(0, num_images + 2, count), rng.integers(0, num_classes, count), boxes(count)
    if len(truth.images):
        target, on = rng.integers(0, len(truth.images), count), rng.random(count) < rng.random()
        images, labels = np.where(on, truth.images[target], images), np.where(on, truth.labels[target], labels)
        near = truth_boxes[target] + rng.integers(0, 3, (count, 4)) * [-1, -1, 1, 1] * unit * rng.choice([0.1, 0.5, 1])
        found = np.where(on[:, None], near, found)
    found[:, 2:] = np.where(rng.random((count, 1)) < rng.choice([0, 0.2]), found[:, :2], found[:, 2:])
    return (
        Detections(images, labels, rng.integers(0, rng.choice([3, 20, 10**6]), count) / 10, found),
        truth,
        num_classes,
    )


@pytest.mark.parametrize("seed", range(60))
def test_equals_pycocotools_to_the_last_bit(seed):
    found, truth, num_classes = random_case(np.random.default_rng(seed))
    assert_equal_bits(coco_ap(found, truth, num_classes), reference_scores(found, truth, num_classes))


@pytest.mark.parametrize("seed", range(10))
def test_classes_are_what_the_means_are_of(seed):
    scores = coco_ap(*random_case(np.random.default_rng(seed)))
    for name, ap_C in zip(("AP", "APs", "APm", "APl"), scores.ap_AC, strict=True):
        mean = np.nanmean(ap_C) if (~np.isnan(ap_C)).any() else np.nan
        assert scores.twelve[NAMES.index(name)] == pytest.approx(mean, rel=1e-12, nan_ok=True)


@pytest.mark.parametrize("seed", range(20))
def test_any_number_of_processes_merges_to_the_same_bits(seed):
    rng = np.random.default_rng(1000 + seed)
    found, truth, num_classes = random_case(rng)
    whole = coco_ap(found, truth, num_classes)
    for world_size in (1, 2, 3, 9):  # of nine some have no image
        shares = [match(rows_of(found, found.images % world_size == r), truth, num_classes) for r in range(world_size)]
        merged = Matches.concatenate([shares[r] for r in rng.permutation(world_size)])
        assert_equal_bits(coco_scores(merged, truth, num_classes), whole)


def test_the_published_numbers_of_pycocotools_own_example(shared: Path):
    """From the JSON files themselves; tests/train/reports/test_result_files.py goes through shards."""
    folder = shared / "golden/coco_ap"
    instances = json.loads((folder / "instances_val2014_100.json").read_text())
    results = json.loads((folder / "cocoapi_instances_val2014_fakebbox100_results.json").read_text())
    label_of = {
        row["id"]: label for label, row in enumerate(sorted(instances["categories"], key=lambda row: row["id"]))
    }

    def columns(rows):
        boxes = np.array([row["bbox"] for row in rows])
        boxes[:, 2:] += boxes[:, :2]
        return (
            np.array([row["image_id"] for row in rows]),
            np.array([label_of[row["category_id"]] for row in rows]),
            boxes,
        )

    rows = instances["annotations"]
    crowd = np.array([row["iscrowd"] for row in rows], bool)
    truth = Truths(*columns(rows), np.array([row["area"] for row in rows]), np.zeros_like(crowd), crowd)
    images, labels, boxes = columns(results)
    found = Detections(images, labels, np.array([row["score"] for row in results]), boxes)
    scores = coco_ap(found, truth, len(label_of))
    assert dict(zip(NAMES, scores.twelve.round(6).tolist(), strict=True)) == PUBLISHED
    assert_equal_bits(scores, reference_scores(found, truth, len(label_of)))
