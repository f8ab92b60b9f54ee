"""Every row of `benchmarks.ablation` is a config that starts, and differs from the recipe."""

import pytest

from benchmarks.ablation import RECIPE, ROWS, SHORTENED
from benchmarks.learning import PROTOCOLS
from train.config import flat, load
from train.schedule.duration import RunLength
from train.schedule.learning_rate import misfit


@pytest.mark.parametrize("protocol", list(PROTOCOLS))
@pytest.mark.parametrize("row", list(ROWS))
def test_a_row_is_the_recipe_but_for_its_part(protocol: str, row: str) -> None:
    shortened = SHORTENED[protocol]
    standard = flat(load(PROTOCOLS[protocol].config, shortened))
    config = load(PROTOCOLS[protocol].config, [*shortened, *ROWS[row]])
    changed = {key for key, value in flat(config).items() if value != standard[key]}
    assert changed == {override.split("=")[0] for override in ROWS[row]} or (row == RECIPE and not changed)
    length = RunLength(200, config.epochs)
    assert misfit(config.schedule.in_images(length), length) is None
