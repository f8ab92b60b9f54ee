"""Sentences on what is wrong with a config: the key and the value as written, and what was expected."""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING
from typing import Any

from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from launch.keys import Key, nearest, shown
from train.keys.aliases import ALIASES

LIST = "python -m train.config lists all keys"
RANGES = {  # of the units whose numbers are easily given as something else: per cent, a sign, nan
    "IoU": (0, 1, "0 to 1"),
    "score": (0, 1, "0 to 1"),
    "probability": (0, 1, "0 to 1"),
    "weight": (0, sys.float_info.max, "a number, 0 or more"),
    "logit": (-50, 50, "-50 to 50"),
    "images": (0, sys.maxsize, "a number of images, 0 or more"),
    "pictures": (1, sys.maxsize, "at least 1"),
}


def unknown_key(layers: Sequence[Any], keys: Sequence[Key]) -> str | None:
    """A sentence on the first unknown key, if any. layers: plain nested mappings, as written."""
    known = {key.name for key in keys}
    for name, value in (found for layer in layers for found in _leaves(layer, known)):
        if name in known:
            continue
        if inside := [key.name for key in keys if key.name.startswith(f"{name}.")]:
            if value == {} or (name == "drawn" and value is None):  # the one optional section
                continue
            first = inside[0].removeprefix(f"{name}.")
            return f"{_written(name, value)}: expected a section, such as {name}: {{{first}: ...}}"
        near = nearest(name, [key.name for key in keys], ALIASES)
        meant = f"; did you mean {near}? {LIST}" if near else f"; {LIST}"
        return f"{_written(name, value)}: unknown key {name}{meant}"
    return None


def wrong_value(error: OmegaConfBaseException, layers: Sequence[Any], keys: Sequence[Key]) -> str:
    """A sentence on the key that an error of OmegaConf is about."""
    name = re.sub(r"\[\d+\]$", "", error.full_key or "")
    key = next((each for each in keys if each.name == name), None)
    if isinstance(error, MissingMandatoryValue):
        key = key or next(each for each in keys if each.default is MISSING and each.name.startswith(name))
        about = f" ({key.meaning})" * bool(key.meaning)
        return f"{key.name}: expected {_one(key.kind)}{about}, found nothing; set it in the config or as {key.name}=..."
    if key is None or "interpolation" in type(error).__name__.lower():
        return " ".join(str(error).partition("full_key")[0].split())
    found = [value for layer in layers for where, value in _leaves(layer, {name}) if where == name]
    value = found[-1] if found else None
    listed = f", as in {name}=[{value}]" if "list" in key.kind and isinstance(value, int | float) else ""
    return f"{_written(name, value)}: expected {_one(key.kind)}{f' ({key.unit})' * bool(key.unit)}{listed}"


def outside_its_unit(values: Mapping[str, Any], keys: Sequence[Key]) -> str | None:
    """A sentence on the first number that its unit does not have, if any. values: by dotted name."""
    for key in keys:
        value = values.get(key.name)
        if key.unit not in RANGES or not isinstance(value, int | float):
            continue
        least, most, expected = RANGES[key.unit]
        if not least <= value <= most:
            return f"{_written(key.name, value)}: expected {expected} ({key.unit})"
    return None


def _one(kind: str) -> str:
    return "a " * kind.startswith(("whole", "number", "list")) + kind


def _leaves(layer: Any, known: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values; a mapping under the name of a key is its value."""
    for name, value in layer.items() if isinstance(layer, Mapping) else ():
        full = f"{prefix}{name}"
        if isinstance(value, Mapping) and value and full not in known:
            yield from _leaves(value, known, f"{full}.")
        else:
            yield full, value


def _written(name: str, value: Any) -> str:
    text = " ".join(shown(value).split())
    return f"{name}={text if len(text) <= 80 else f'{text[:77]}...'}"
