"""Recipes: which one is taken, and that every key that the user names overrides it."""

from pathlib import Path

import pytest

from tests.train.test_config import LEAST, refusal, written
from train.config import VOC_ANCHORS, Config, load, save
from train.schedule.learning_rate import ScheduleConfig
from train.stepping.config import StepConfig


def of(tmp_path: Path, text: str = "", *overrides: str) -> Config:
    return load(written(tmp_path, LEAST + text), list(overrides))


@pytest.mark.parametrize(
    ("text", "overrides", "recipe"),
    [
        ("", [], "scratch"),
        ("weights: darknet19_448.conv.23", [], "darknet"),
        ("", ["weights=x.weights"], "darknet"),
        ("weights: x.weights", ["weights=null"], "scratch"),
        ("recipe: scratch", ["weights=x.weights"], "scratch"),
        ("recipe: darknet", [], "darknet"),
        ("recipe: darknet", ["recipe=scratch"], "scratch"),
    ],
)
def test_without_weights_to_start_from_a_run_trains_from_scratch(
    tmp_path: Path, text: str, overrides: list[str], recipe: str
) -> None:
    config = of(tmp_path, text, *overrides)
    assert config.recipe == recipe
    assert (config.step.optimizer, config.anchors) == (
        ("sgd", VOC_ANCHORS) if recipe == "darknet" else ("adamw", "auto")
    )


def test_darknets_recipe_is_what_the_sections_say_by_themselves(tmp_path: Path) -> None:
    config = of(tmp_path, "recipe: darknet")
    assert (config.step, config.schedule) == (StepConfig(), ScheduleConfig())


def test_an_unknown_recipe_is_answered_with_those_there_are(tmp_path: Path) -> None:
    assert "recipe=yolov8: expected darknet or scratch" in refusal(written(tmp_path, LEAST), "recipe=yolov8")


def test_every_key_goes_over_the_recipe_and_the_command_line_over_the_file(tmp_path: Path) -> None:
    text = "anchors: [1, 1]\nstep: {decay: 0.1}\nschedule: {rate: 0.5, burn_in: 3 epochs}"
    config = of(tmp_path, text, "schedule.final=0.5", "schedule.burn_in_images=7", "data.truth_slots=9")
    assert (config.anchors, config.step.decay, config.step.optimizer) == ([1.0, 1.0], 0.1, "adamw")
    assert (config.schedule.rate, config.schedule.final, config.schedule.shape) == (0.5, 0.5, "cosine")
    assert (config.schedule.burn_in, config.schedule.burn_in_images) == (None, 7)
    assert config.data.truth_slots == 9


@pytest.mark.parametrize("one", ["burn_in: 3 epochs", "burn_in_images: 7"])
@pytest.mark.parametrize(("other", "expected"), [("burn_in='5 %'", ("5 %", None)), ("burn_in_images=9", (None, 9))])
def test_of_two_keys_that_say_the_same_the_later_is_meant(
    tmp_path: Path, one: str, other: str, expected: tuple[str | None, int | None]
) -> None:
    schedule = of(tmp_path, f"schedule: {{{one}}}", f"schedule.{other}").schedule
    assert (schedule.burn_in, schedule.burn_in_images) == expected


def test_two_keys_that_say_the_same_in_one_place_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, LEAST + "step: {ema: 5 %, ema_images: 3}")
    assert "step.ema=5 % and ema_images=3: expected one key, found both" in refusal(path)


def test_drops_of_the_rate_come_in_steps_unless_another_shape_is_named_beside_them(tmp_path: Path) -> None:
    assert of(tmp_path, "schedule: {drop_images: [5]}").schedule.shape == "steps"
    assert of(tmp_path, "", "schedule.drops=['50 %']").schedule.shape == "steps"
    assert of(tmp_path, "schedule: {drop_images: [5], shape: constant}").schedule.shape == "constant"


@pytest.mark.parametrize("recipe", ["scratch", "darknet"])
def test_a_saved_config_is_the_same_under_its_recipe(tmp_path: Path, recipe: str) -> None:
    config = of(tmp_path, f"recipe: {recipe}\nschedule: {{drops: [50 %], burn_in_images: 9}}")
    save(config, tmp_path / "saved.yaml")
    assert load(tmp_path / "saved.yaml", []) == config
