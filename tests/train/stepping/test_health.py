"""Warnings about a run that cannot learn: each is given once, with a remedy, and a run that learns gets none."""

from collections.abc import Callable

import pytest
import torch

from tests.train.run.display.test_board import losses
from tests.train.stepping.test_step import small_step
from train.loss import Losses
from train.schedule.duration import RunLength
from train.schedule.learning_rate import ScheduleConfig
from train.stepping.health import PERSISTENT, HealthCheck
from train.stepping.update import Tally

RUN = RunLength(images_per_epoch=1000, epochs=10)
Warnings = Callable[..., str]


def tally(steps: int = 50, clipped: int = 0, skipped: int = 0, in_a_row: int = 0) -> Tally:
    return Tally(steps, *(torch.tensor(float(number)) for number in (clipped, skipped, in_a_row)))


@pytest.fixture
def warnings_of(capsys: pytest.CaptureFixture[str]) -> Warnings:
    """The warnings of a run with the same numbers at every log line, past the steps of a trial."""

    def of(shown: Losses, at: Tally | None = None, burn_in: int = 0, **options: object) -> str:
        step = small_step(**options)
        step.schedule = type(step.schedule)(rate=1e-3, burn_in_images=burn_in, drop_images=[])
        health = HealthCheck(step, RUN, num_classes=3)
        for images in range(500, 6000, 500):
            health.check(images, shown, at or tally())
        return capsys.readouterr().err

    return of


def test_a_run_that_learns_gets_no_warning(warnings_of: Warnings) -> None:
    assert warnings_of(losses(1)) == ""
    assert (
        warnings_of(losses(1), tally(clipped=50), optimizer="adamw") == ""
    )  # AdamW takes no notice of a gradient's scale


@pytest.mark.parametrize(
    ("shown", "at", "burn_in", "expected"),
    [
        (losses(1, class_score=4 / 3), None, 0, "classes are still guessed"),
        (losses(1, object_score=0.4, any_score=0.1), None, 0, "boxes of objects score no higher"),
        (losses(0, truths=0, class_score=0, object_score=0), None, 0, "no object has been trained on"),
        (losses(1), tally(clipped=49), 0, "raise step.clip_norm"),
        (losses(1), None, 9000, "the rate is still nearly 0"),
    ],
)
def test_each_warning_is_given_once(
    warnings_of: Warnings, shown: Losses, at: Tally | None, burn_in: int, expected: str
) -> None:
    said = warnings_of(shown, at, burn_in)
    assert said.startswith("WARNING: ") and said.count("\n") == 1 and expected in said


def test_a_rate_that_has_ended_early_gets_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    step = small_step()
    step.schedule = ScheduleConfig(shape="cosine", burn_in_images=0, end_images=1000)
    health = HealthCheck(step, RUN, num_classes=3)
    for images in (3000, 6000):
        health.check(images, losses(1), tally(steps=200))
    said = capsys.readouterr().err
    assert said.count("WARNING") == 1 and "the rate is already nearly 0" in said


def test_a_trial_gets_no_warning(capsys: pytest.CaptureFixture[str]) -> None:
    health = HealthCheck(small_step(), RunLength(100, 1), num_classes=3)
    health.check(100, losses(1, class_score=0), tally(steps=12))
    assert capsys.readouterr().err == ""


def test_steps_that_are_never_finite_end_the_run(warnings_of: Warnings) -> None:
    nothing = Losses(*[torch.tensor(float("nan"))] * len(Losses._fields))
    assert warnings_of(nothing, tally(skipped=49, in_a_row=PERSISTENT - 1)) == ""
    with pytest.raises(FloatingPointError, match=r"last 50 steps before image 500 .* lower schedule\.rate"):
        warnings_of(nothing, tally(skipped=50, in_a_row=PERSISTENT))
