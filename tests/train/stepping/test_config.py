"""What a user may choose about a step, and what is refused."""

import pytest

from train.stepping.config import StepConfig


@pytest.mark.parametrize(("option", "message"), [({"bucket_mb": 0}, "bucket_mb=0"), ({"ema_images": -1}, "=-1")])
def test_wrong_options_are_refused(option: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StepConfig(**option)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, -1, "some"])
def test_a_wrong_number_of_parts_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match="expected at least 1, or auto"):
        StepConfig(accumulate=value)  # type: ignore[arg-type]
