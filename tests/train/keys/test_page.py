"""docs/config.md."""

from launch.keys import keys_of
from tests.conftest import ROOT
from train.config import Config, all_keys


def test_the_page_is_up_to_date() -> None:
    assert (ROOT / "docs/config.md").read_text() == all_keys() + "\n", (
        "make it again: python -m train.config > docs/config.md"
    )


def test_every_key_says_what_it_is_and_every_number_its_unit() -> None:
    for key in keys_of(Config):
        assert key.meaning, key.name
        assert bool(key.unit) == ("number" in key.kind), f"{key.name}: {key.kind} [{key.unit}]"


def test_defaults_of_another_recipe_stand_beside() -> None:
    (line,) = [line for line in all_keys().splitlines() if line.startswith("    data.batch=")]
    assert line.split(maxsplit=1) == ["data.batch=64", "whole number; scratch: 16"]
