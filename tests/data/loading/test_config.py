"""The section `data`: what cannot be meant is refused by name."""

from typing import Any

import pytest

from data.images.augment import AugmentConfig
from data.loading.config import DataConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sides": []}, r"data\.sides=\[\]: expected multiples of 32 px"),
        ({"sides": [416, 400]}, r"data\.sides=\[416, 400\]: expected multiples of 32 px"),
        ({"sides": [0]}, r"data\.sides=\[0\]"),
        ({"batch": 0}, r"data\.batch=0: expected at least 1"),
        ({"batch": 10**9}, r"data\.batch=1000000000: expected at most 1,048,576"),
        ({"workers": 10**9}, r"data\.workers=1000000000: expected at most 1,024"),
        ({"truth_slots": 10**9}, r"data\.truth_slots=1000000000: expected at most 32,768"),
        (
            {"sides": [416, 32 * 10**6]},
            r"data\.sides=\[416, 32000000\]: expected multiples of 32 px.*, up to 16,384 px",
        ),
        ({"batches_per_side": 0}, r"data\.batches_per_side=0: expected at least 1"),
        ({"truth_slots": 0}, r"data\.truth_slots=0: expected at least 1"),
        ({"truth_slots": "many"}, r"data\.truth_slots=many: expected a number of objects, or auto"),
        (
            {"geometry": "device", "augment": AugmentConfig(mosaic=0.5)},
            r"geometry=device with data\.augment\.mosaic=0\.5, mixup=0\.0: the device lays one image into each canvas",
        ),
        ({"window": 0}, r"data\.window=0: expected at least 1"),
        ({"workers": -1}, r"data\.workers=-1: expected at least 0"),
        ({"max_faults": -1}, r"data\.max_faults=-1: expected at least 0"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DataConfig(train="", val="", **options)
