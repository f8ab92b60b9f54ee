"""What is wrong with a config. tests/train/test_config.py has the sentences for whole configs."""

from launch.keys import keys_of
from train.config import Config
from train.keys.problems import unknown_key

KEYS = keys_of(Config)


def test_a_layer_of_known_keys_has_nothing_wrong() -> None:
    assert unknown_key([{"run": "r", "data": {"augment": {"flip": 0}}, "drawn": None}, {}], KEYS) is None


def test_a_section_may_be_empty_but_not_a_value() -> None:
    assert unknown_key([{"loss": {}}], KEYS) is None
    told = unknown_key([{"run": "r"}, {"loss": 3}], KEYS)
    assert told == "loss=3: expected a section, such as loss: {coord: ...}"


def test_a_long_value_is_cut() -> None:
    told = unknown_key([{"zzz": "a\nb" * 100}], KEYS)
    assert told is not None and "\n" not in told and len(told) < 200
