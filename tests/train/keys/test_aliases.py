"""Keys as other programs call them; tests/train/test_config.py has them with the keys of a config."""

from train.keys.aliases import ALIASES


def test_names_are_as_they_are_looked_up() -> None:
    assert list(ALIASES) == sorted(name.lower() for name in ALIASES) and not any("." in name for name in ALIASES)
