"""The reference backend is pycocotools and nothing else; that ours equals it is in test_coco.py."""

import dataclasses

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.train.evaluation.scores.test_coco import BOX, FAR, detections, random_case, truths
from train.evaluation.scores.coco_reference import reference_scores


def test_equals_pycocotools_fed_by_hand(capsys):
    found, truth, num_classes = random_case(np.random.default_rng(11))
    truth = dataclasses.replace(truth, difficult=np.zeros_like(truth.difficult))
    assert len(found.images) > 50 and len(truth.images) > 10 and truth.crowd.any()

    def xywh(box):
        return [box[0], box[1], box[2] - box[0], box[3] - box[1]]

    known = COCO()
    known.dataset = {
        "images": [{"id": image} for image in range(20)],
        "categories": [{"id": label} for label in range(num_classes)],
        "annotations": [
            {
                "id": row + 1, "image_id": int(truth.images[row]), "category_id": int(truth.labels[row]),
                "bbox": xywh(truth.boxes_xyxy_px[row]), "area": truth.areas_px[row], "iscrowd": int(truth.crowd[row]),
            }
            for row in range(len(truth.images))
        ],
    }  # fmt: skip
    known.createIndex()
    results = known.loadRes(
        [
            {"image_id": int(image), "category_id": int(label), "bbox": xywh(box), "score": score}
            for image, label, box, score in zip(
                found.images, found.labels, found.boxes_xyxy_px, found.scores, strict=True
            )
        ]
    )
    evaluation = COCOeval(known, results, "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    capsys.readouterr()
    scores = reference_scores(found, truth, num_classes)
    assert capsys.readouterr().out == ""
    np.testing.assert_array_equal(np.nan_to_num(scores.twelve, nan=-1), evaluation.stats)


def test_a_difficult_object_is_ignored_and_no_crowd():
    truth = truths((0, 0, BOX, "difficult"), (0, 0, FAR, ""))
    part = (110.0, 110.0, 130.0, 130.0)  # inside: a crowd would take it out
    assert reference_scores(detections((0, 0, 0.9, BOX), (0, 0, 0.8, FAR)), truth, 1).ap == pytest.approx(1)
    assert reference_scores(detections((0, 0, 0.9, part), (0, 0, 0.8, FAR)), truth, 1).ap == pytest.approx(0.5)
