import dataclasses

import numpy as np
import pytest

from data.shards.index import ShardIndex
from train.evaluation.scores.tables import (
    Detections,
    Truths,
    by_image_id,
    mean_of_known,
    rows,
    truths_of,
    xywh_from_xyxy,
)

BOX = [10.0, 10.0, 50.0, 50.0]


def detections(images: list[int], scores: list[float]) -> Detections:
    return Detections(
        np.array(images), np.zeros(len(images), np.int64), np.array(scores), np.array([BOX] * len(images))
    )


def test_parts_are_put_together_in_their_order() -> None:
    whole = Detections.concatenate([detections([3, 1], [0.5, 0.25]), Detections.empty(), detections([2], [0.75])])
    assert whole.images.tolist() == [3, 1, 2] and whole.scores.tolist() == [0.5, 0.25, 0.75]
    assert rows(whole, np.array([2, 0])).images.tolist() == [2, 3]


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels has shape \(2,\), expected \(1,\)"):
        Detections(np.array([0]), np.array([0, 0]), np.array([0.5]), np.array([BOX]))


def test_a_score_that_is_no_number_is_refused_with_its_row() -> None:
    with pytest.raises(ValueError, match=r"Detections row 1 \(image 7; 1 of 2 rows\): scores nan"):
        detections([3, 7], [0.5, np.nan])


def test_a_truth_without_an_area_is_refused() -> None:
    none = np.zeros(1, bool)
    with pytest.raises(ValueError, match="expected an area"):
        Truths(np.array([0]), np.array([0]), np.array([[5.0, 5, 5, 9]]), np.array([0.0]), none, none)


def test_images_are_numbered_in_the_order_of_their_ids(index: ShardIndex) -> None:
    """Shorter ids first, so that numbers come in the order of their values, as pycocotools has them."""
    ids = np.array(["10", "9", "100"])
    some = dataclasses.replace(index, arrays=index.arrays | {"image_ids": ids})
    assert by_image_id(detections([0, 1, 2], [0.5] * 3), some).images.tolist() == [1, 0, 2]


def test_truths_have_a_row_for_each_object(index: ShardIndex) -> None:
    truths = truths_of(index)
    assert len(truths.labels) == len(index.arrays["labels"])
    for sample in (0, index.num_samples - 1):
        mine = truths.boxes_xyxy_px[truths.images == sample]
        assert np.array_equal(mine, index.arrays["boxes_xyxy_px"][index.objects(sample)].astype(np.float64))


def test_what_is_not_known_is_left_out_of_a_mean() -> None:
    assert mean_of_known(np.array([0.25, np.nan, 0.75])) == 0.5
    assert np.isnan(mean_of_known(np.array([np.nan, np.nan])))


def test_cocos_frame_is_corner_and_size() -> None:
    assert xywh_from_xyxy(np.array([[1.0, 2, 4, 8]])).tolist() == [[1, 2, 3, 6]]
