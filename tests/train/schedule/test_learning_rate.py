"""Learning rates against the numbers of darknet's get_current_rate (src/network.c)."""

import re
from dataclasses import replace

import pytest

from train.schedule.duration import RunLength
from train.schedule.learning_rate import ScheduleConfig, learning_rate, misfit

BATCH = 64  # of yolov2-voc.cfg


@pytest.mark.parametrize(
    ("iteration", "rate"),
    [
        (1, 1e-15),
        (100, 1e-7),
        (500, 6.25e-5),
        (999, 1e-3 * 0.999**4),
        (1000, 1e-3),
        (39_999, 1e-3),
        (40_000, 1e-4),
        (59_999, 1e-4),
        (60_000, 1e-5),
        (80_200, 1e-5),
    ],
)
def test_the_defaults_are_those_of_yolov2_voc(iteration: int, rate: float) -> None:
    assert learning_rate(iteration * BATCH, ScheduleConfig()) == pytest.approx(rate, rel=1e-12)


def test_a_run_may_start_at_the_full_rate() -> None:
    assert learning_rate(0, ScheduleConfig(rate=0.5, burn_in_images=0)) == 0.5


def test_the_rate_rises_steadily_to_the_end_of_the_burn_in() -> None:
    config = ScheduleConfig(burn_in_images=1000)
    rates = [learning_rate(images, config) for images in range(0, 1001, 50)]
    assert rates[0] == 0 and rates[-1] == config.rate
    assert rates == sorted(rates) and len(set(rates)) == len(rates)


def test_drops_are_counted_in_images_in_any_order_and_number() -> None:
    config = ScheduleConfig(rate=1.0, burn_in_images=0, drop_images=[30, 10, 20], drop=0.5)
    assert [learning_rate(images, config) for images in (9, 10, 19, 20, 29, 30, 31)] == [
        1,
        0.5,
        0.5,
        0.25,
        0.25,
        0.125,
        0.125,
    ]
    assert learning_rate(10**9, ScheduleConfig(drop_images=[])) == 1e-3


def test_a_drop_within_the_burn_in_takes_effect_at_its_end() -> None:
    config = ScheduleConfig(rate=1.0, burn_in_images=100, drop_images=[50])
    assert learning_rate(99, config) == pytest.approx(0.99**4)
    assert learning_rate(100, config) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": -1e-3}, r"schedule\.rate=-0\.001: expected a number above 0"),
        ({"rate": float("nan")}, r"schedule\.rate=nan"),
        ({"drop": 0.0}, r"schedule\.drop=0\.0"),
        ({"burn_in_images": -1}, r"schedule\.burn_in_images=-1, .*expected numbers of images"),
        ({"drop_images": [100, -5]}, r"drop_images=\[100, -5\], .*expected numbers of images"),
        ({"burn_in": "5 %", "burn_in_images": 3}, "expected one key, found both"),
        ({"drops": ["soon"]}, r"schedule\.drops=soon: expected a duration"),
        ({"final": 1.5}, r"schedule\.final=1\.5: expected a share"),
        ({"power": 0.0}, r"schedule\.power=0\.0"),
        ({"backbone_rate": 0.0}, r"schedule\.backbone_rate=0\.0"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScheduleConfig(**options)  # type: ignore[arg-type]


def test_a_cosine_goes_from_the_rate_to_its_final_share() -> None:
    config = ScheduleConfig(rate=1.0, shape="cosine", burn_in_images=100, power=1, final=0.02, end_images=1100)
    assert [learning_rate(images, config) for images in (0, 50, 100)] == [0, 0.5, 1]
    assert learning_rate(350, config) == pytest.approx(0.02 + 0.98 * (1 + 2**-0.5) / 2)
    assert learning_rate(600, config) == pytest.approx(0.51)
    assert learning_rate(1100, config) == pytest.approx(0.02) and learning_rate(1110, config) == pytest.approx(0.02)


def test_a_constant_rate_stays() -> None:
    config = ScheduleConfig(rate=0.5, shape="constant", burn_in_images=10, power=2)
    assert [learning_rate(images, config) for images in (5, 10, 10**9)] == [0.125, 0.5, 0.5]


def test_durations_become_images_and_what_follows_the_run_is_stated() -> None:
    written = ScheduleConfig(shape="cosine", burn_in="2 epochs", drops=["50 %", "900 images"])
    short, long = written.in_images(RunLength(100, 10)), written.in_images(RunLength(100, 20))
    assert (short.burn_in_images, short.drop_images, short.end_images) == (200, [500, 900], 1000)
    assert (long.burn_in_images, long.drop_images, long.end_images) == (200, [1000, 900], 2000)
    fixed = replace(written, end_images=1000)
    rates = [learning_rate(700, fixed.in_images(RunLength(100, epochs))) for epochs in (10, 20)]
    assert rates[0] == rates[1] and learning_rate(700, short) != learning_rate(700, long)


def test_the_defaults_in_images_are_those_of_yolov2_voc() -> None:
    config = ScheduleConfig().in_images(RunLength(16_551, 310))
    assert (config.burn_in_images, config.drop_images) == (64_000, [2_560_000, 3_840_000])
    assert misfit(config, RunLength(16_551, 310)) is None


def test_a_schedule_beyond_the_end_is_told_with_what_would_fit() -> None:
    run = RunLength(205, 310)  # the configuration of VOC on a small set
    text = misfit(ScheduleConfig().in_images(run), run)
    assert text is not None and "which sees 63,550 images (310 epochs of 205)" in text
    assert "burn-in of 64,000" in text and "drop of the rate at 2,560,000" in text and "at 3,840,000" in text
    assert "Set schedule.burn_in_images=3177 schedule.drop_images=[42367,52958]; or recipe=scratch" in text
    fitting = ScheduleConfig(burn_in_images=3177, drop_images=[42367, 52958])
    assert misfit(fitting.in_images(run), run) is None
    shares = ScheduleConfig(shape="cosine", burn_in="5 %").in_images(run)
    assert misfit(shares, run) is None


@pytest.mark.parametrize(
    ("end", "message"),
    [
        ("2 epochs", "the cosine ends at 200 images, within the burn-in of 200 images"),
        ("1001 images", "the end of the cosine at 1,001 images lies beyond .*Set .*schedule.end_images=1000"),
        ("50 %", None),
        ("1000", None),
    ],
)
def test_a_cosine_that_ends_before_it_starts_or_after_the_run_is_told(end: str, message: str | None) -> None:
    run = RunLength(100, 10)
    config = ScheduleConfig(shape="cosine", burn_in="2 epochs", end=end).in_images(run)
    text = misfit(config, run)
    assert re.search(message, text or "") if message else text is None
    assert misfit(replace(config, shape="constant"), run) is None
    with pytest.raises(ValueError, match="expected one key, found both"):
        ScheduleConfig(end=end, end_images=500)


def test_a_schedule_without_drops_has_none_beyond_the_end() -> None:
    run = RunLength(10, 10)
    assert misfit(ScheduleConfig(shape="constant", burn_in_images=0).in_images(run), run) is None
    text = misfit(ScheduleConfig(shape="constant", burn_in_images=100).in_images(run), run)
    assert text is not None and "drop" not in text
