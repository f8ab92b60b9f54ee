"""Truth slots: a constant number of rows, whatever is on the image."""

import numpy as np
import pytest

from data.images.augment import AugmentConfig
from data.loading.batch import needed_slots, truth_slots
from data.shards.index import ShardIndex


def test_free_slots_have_class_minus_1_and_zeros() -> None:
    boxes = np.array([[0.1, 0.2, 0.5, 0.4]], np.float32)
    slots = truth_slots(boxes, np.array([7], np.int16), 3)
    assert slots.shape == (3, 5) and slots.dtype == np.float32
    np.testing.assert_allclose(slots[0], [0.3, 0.3, 0.4, 0.2, 7], rtol=1e-6)
    np.testing.assert_array_equal(slots[1:], [[0, 0, 0, 0, -1]] * 2)


def test_an_image_without_objects_has_only_free_slots() -> None:
    slots = truth_slots(np.empty((0, 4), np.float32), np.empty(0, np.int16), 2)
    np.testing.assert_array_equal(slots, [[0, 0, 0, 0, -1]] * 2)


def test_of_too_many_objects_the_first_ones_are_kept() -> None:
    boxes = np.linspace(0, 1, 20, dtype=np.float32).reshape(5, 4)
    slots = truth_slots(boxes, np.arange(5, dtype=np.int16), 3)
    np.testing.assert_array_equal(slots[:, 4], [0, 1, 2])
    np.testing.assert_array_equal(slots, truth_slots(boxes, np.arange(5, dtype=np.int16), 9)[:3])
    assert len(truth_slots(boxes, np.arange(5, dtype=np.int16), 5)) == 5


def counts(index: ShardIndex) -> list[int]:
    trained = ~(index.arrays["difficult"] | index.arrays["crowd"])
    return sorted((int(trained[index.objects(sample)].sum()) for sample in range(index.num_samples)), reverse=True)


@pytest.mark.parametrize(("augment", "images"), [({}, 1), ({"mosaic": 0.1}, 4), ({"mosaic": 1, "mixup": 1}, 5)])
def test_there_is_room_for_the_fullest_images(index: ShardIndex, augment: dict[str, float], images: int) -> None:
    needed = needed_slots(index, AugmentConfig(**augment))
    assert 0 <= needed - sum(counts(index)[:images]) < 8 and needed % 8 == 0
