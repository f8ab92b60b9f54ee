"""Boxes from the network's input back to the original image."""

from pathlib import Path

import numpy as np
import pytest

from data.images.geometry import letterbox, stretch
from data.shards.index import ShardIndex
from train.detection.head import ImageDetections
from train.evaluation.pixels import to_pixels
from train.evaluation.scores.tables import Detections, truths_of
from train.evaluation.scores.voc import voc_ap


@pytest.mark.parametrize("place", [letterbox, stretch])
def test_truths_sent_through_the_network_frame_and_back_score_one(shards: Path, place: object) -> None:
    index = ShardIndex.load(shards / "val")
    side, parts = 416, []
    for sample in range(index.num_samples):
        objects = index.objects(sample)
        placement = place(*index.size_px(sample), side)  # type: ignore[operator]
        (sx1, sy1, sx2, sy2), (tx1, ty1, tx2, ty2) = placement.source, placement.target
        zoom = np.array([(tx2 - tx1) / (sx2 - sx1), (ty2 - ty1) / (sy2 - sy1)] * 2)
        inside = (index.arrays["boxes_xyxy_px"][objects] * zoom + (tx1, ty1, tx1, ty1)) / side
        labels = index.arrays["labels"][objects].astype(np.int64)
        parts.append(to_pixels(ImageDetections(inside, labels, np.ones(len(labels))), sample, placement, index, side))
    truths = truths_of(index)
    scores = voc_ap(Detections.concatenate(parts), truths, len(index.classes))
    assert np.nanmin(scores.ap_area) == np.nanmax(scores.ap_area) == scores.map_11point == 1.0
    np.testing.assert_allclose(Detections.concatenate(parts).boxes_xyxy_px, truths.boxes_xyxy_px, atol=1e-3)
