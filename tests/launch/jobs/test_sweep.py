"""Runs of a sweep."""

import pytest

from launch.jobs.sweep import MOST, chosen, members, split_sweep, split_values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1e-3,3e-3", ["1e-3", "3e-3"]),
        ("[320],[320, 352]", ["[320]", "[320, 352]"]),
        ("{a: 1, b: [2,3]}, null", ["{a: 1, b: [2,3]}", "null"]),
        ("one", ["one"]),
    ],
)
def test_values_are_split_outside_of_brackets(text: str, values: list[str]) -> None:
    assert split_values(text) == values


def test_words_of_a_sweep_are_told_from_the_others() -> None:
    words = ["sweep.seed=0,1", "epochs=3", "sweep.step.ema=5 %,null"]
    assert split_sweep(words) == ({"seed": ["0", "1"], "step.ema": ["5 %", "null"]}, ["epochs=3"])


@pytest.mark.parametrize("word", ["sweep.seed", "sweep.=1", "sweep.seed=", "sweep.seed=1,,2", "sweep.run=a,b"])
def test_what_is_no_sweep_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"expected sweep[.]KEY=VALUE,VALUE"):
        split_sweep([word])


def test_every_combination_is_a_run_with_a_folder_of_its_own() -> None:
    found = members("runs/a", {"seed": ["0", "1"], "step.ema": ["5 %", "null"]})
    assert [member.run for member in found] == [
        "runs/a/seed=0_step.ema=5-",
        "runs/a/seed=0_step.ema=null",
        "runs/a/seed=1_step.ema=5-",
        "runs/a/seed=1_step.ema=null",
    ]
    assert found[2].overrides == ["seed=1", "step.ema=5 %"] and members("runs/a", {}) == []
    assert "    2) run=runs/a/seed=1_step.ema=5- member=(seed=1 'step.ema=5 %') ;;" in chosen(found)


def test_a_sweep_of_too_many_runs_is_refused() -> None:
    with pytest.raises(ValueError, match=f"expected up to {MOST} runs in a sweep"):
        members("r", {"seed": [str(number) for number in range(MOST + 1)]})
