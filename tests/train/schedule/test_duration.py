"""Durations as a person writes them."""

import pytest

from train.schedule.duration import RunLength, given_images, parse_duration, require_one

RUN = RunLength(images_per_epoch=200, epochs=50)


@pytest.mark.parametrize(
    ("written", "images"),
    [
        ("1600 images", 1600),
        ("1600", 1600),
        ("64_000 images", 64_000),
        ("3 epochs", 600),
        ("1 epoch", 200),
        ("0.5 epochs", 100),
        ("5 %", 500),
        ("5%", 500),
        ("2.5 %", 250),
        ("100 %", 10_000),
        ("0 %", 0),
        ("0.001 %", 1),
    ],
)
def test_a_duration_counts_images(written: str, images: int) -> None:
    assert parse_duration(written, "schedule.burn_in").images(RUN) == images


def test_only_shares_and_epochs_follow_the_run() -> None:
    longer = RunLength(images_per_epoch=200, epochs=100)
    grown = {text: parse_duration(text, "key").images(longer) for text in ("1600 images", "3 epochs", "5 %")}
    assert grown == {"1600 images": 1600, "3 epochs": 600, "5 %": 1000}


@pytest.mark.parametrize("written", ["", "0.05", "-3 epochs", "5 percent", "3 hours", "epochs", "nan", "1e3 images"])
def test_anything_else_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match=r"schedule\.burn_in=.*expected a duration such as '1600 images'"):
        parse_duration(written, "schedule.burn_in")


def test_of_a_pair_of_keys_one_is_given() -> None:
    assert given_images("3 epochs", None, 7, "key", RUN) == 600
    assert given_images(None, 5, 7, "key", RUN) == 5 and given_images(None, None, 7, "key", RUN) == 7
    with pytest.raises(ValueError, match=r"step\.ema=5 % and ema_images=3: expected one key"):
        require_one("5 %", 3, "step.ema", "ema_images")
