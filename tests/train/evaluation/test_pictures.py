import numpy as np

from data.images.geometry import whole_image
from data.shards.index import ShardIndex
from train.detection.head import ImageDetections
from train.evaluation.pictures import LEAST_SIDE_PX, draw_validation


def picture(index: ShardIndex, score: float, *, side: int = 96, ignored: bool = False) -> np.ndarray:
    found = ImageDetections(
        np.array([[0.25, 0.25, 0.75, 0.75]], np.float32), np.array([1]), np.array([score], np.float32)
    )
    placement = whole_image(*index.size_px(0), side, "letterbox")
    objects = index.objects(0)
    image = np.full((side, side, 3), 128, np.uint8)
    marks = np.full(objects.stop - objects.start, ignored)
    return draw_validation(image, index, 0, placement, marks, found, 0.3)


def test_a_small_input_is_enlarged_and_has_a_legend(index: ShardIndex) -> None:
    height, width, channels = picture(index, 0.5).shape
    assert width >= LEAST_SIDE_PX and width % 96 == 0 and height > width and channels == 3


def test_what_scores_too_low_is_not_drawn(index: ShardIndex) -> None:
    assert not np.array_equal(picture(index, 0.5), picture(index, 0.2))
    assert np.array_equal(picture(index, 0.2), picture(index, 0.1))


def test_an_ignored_truth_looks_different(index: ShardIndex) -> None:
    assert not np.array_equal(picture(index, 0.2), picture(index, 0.2, ignored=True))
