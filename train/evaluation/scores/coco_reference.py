"""The numbers of coco.py from pycocotools itself, for comparison: much slower, and an optional dependency."""

import contextlib
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from train.evaluation.scores.coco import CocoScores, mean_precision
from train.evaluation.scores.tables import Detections, Truths, xywh_from_xyxy


def reference_scores(detections: Detections, truths: Truths, num_classes: int) -> CocoScores:
    """As `coco_ap`, computed by pycocotools."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        known, found = COCO(), COCO()
        known.dataset = _dataset(detections, truths, num_classes)
        known.createIndex()
        results = _results(detections)
        if results:
            found = known.loadRes(results)
        else:  # loadRes inspects the first one
            found.dataset = known.dataset | {"annotations": []}
            found.createIndex()
        evaluation = COCOeval(known, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision_TRCA = _nan_for_none(evaluation.eval["precision"][..., -1])
    ap_AC = mean_precision(np.moveaxis(precision_TRCA, 3, 0))
    return CocoScores(_nan_for_none(evaluation.stats), precision_TRCA[..., 0], ap_AC)


def _dataset(detections: Detections, truths: Truths, num_classes: int) -> dict[str, Any]:
    # with an area outside every range pycocotools ignores an object without treating it as a crowd
    areas_px = np.where(truths.difficult & ~truths.crowd, -1, truths.areas_px)
    columns = (truths.images, truths.labels, xywh_from_xyxy(truths.boxes_xyxy_px), areas_px, truths.crowd)
    annotations = [
        {"id": number, "image_id": image, "category_id": label, "bbox": box, "area": area, "iscrowd": int(crowd)}
        for number, (image, label, box, area, crowd) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True), start=1
        )
    ]
    images = np.unique(np.concatenate([truths.images, detections.images]))
    return {
        "images": [{"id": image} for image in images.tolist()],
        "categories": [{"id": label} for label in range(num_classes)],
        "annotations": annotations,
    }


def _results(detections: Detections) -> list[dict[str, Any]]:
    columns = (detections.images, detections.labels, xywh_from_xyxy(detections.boxes_xyxy_px), detections.scores)
    return [
        {"image_id": image, "category_id": label, "bbox": box, "score": score}
        for image, label, box, score in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _nan_for_none(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values == -1, np.nan, values)
