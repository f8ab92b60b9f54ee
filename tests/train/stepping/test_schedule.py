"""Learning rates against the numbers of darknet's get_current_rate (src/network.c)."""

import pytest

from train.stepping.schedule import ScheduleConfig, learning_rate

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
        ({"drop_images": [100, -5]}, r"drop_images=\[100, -5\]: expected numbers of images"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScheduleConfig(**options)  # type: ignore[arg-type]
