"""Durations and sizes as people write them."""

import pytest

from train.run.display.units import duration_text, size_text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (42.4, "42 s"), (91, "1.5 min"), (5399, "90.0 min"), (5400, "1.5 h"), (200_000, "2.3 days")],
)
def test_a_duration_is_in_the_unit_that_a_person_would_choose(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_size_is_in_megabytes_or_gigabytes() -> None:
    assert (size_text(1_500_000), size_text(2_500_000_000)) == ("1.5 MB", "2.5 GB")
