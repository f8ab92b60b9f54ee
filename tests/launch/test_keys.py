"""Keys of a config, from its dataclasses and their comments."""

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from launch.keys import Key, keys_of, kind_of, lines, nearest, shown


@dataclass
class Inner:
    rate: float = 1e-3  #: [rate] of learning
    names: list[str] | None = None  #: of classes


@dataclass
class Outer:
    folder: str  #: where it lies
    inner: Inner = field(default_factory=Inner)
    parts: int | str = 1
    kind: Literal["one", "two", "three"] = "one"  #: which: [this] or that # one
    more: Inner | None = None


def test_keys_are_fields_with_their_comments() -> None:
    keys = {key.name: key for key in keys_of(Outer)}
    assert list(keys) == ["folder", "inner.rate", "inner.names", "parts", "kind", "more.rate", "more.names"]
    assert keys["inner.rate"] == Key("inner.rate", "number", 1e-3, "rate", "of learning")
    assert keys["kind"] == Key("kind", "one, two or three", "one", "", "which: [this] or that # one")
    assert keys["parts"] == Key("parts", "whole number or auto", 1, "", "")


@pytest.mark.parametrize(
    ("hint", "kind"),
    [(bool, "true or false"), (list[float] | None, "list of numbers or null"), (Any, "list of numbers or auto")],
)
def test_types_are_words(hint: Any, kind: str) -> None:
    assert kind_of(hint) == kind


def test_a_key_is_shown_as_it_is_written() -> None:
    shown_lines = list(lines(keys_of(Outer), {"inner.rate": ("other", 0.5), "parts": ("other", 1)}))
    assert shown_lines[0] == f"{'folder=':<34}  text; required" and shown_lines[1] == "    where it lies"
    assert shown_lines[2].endswith("  number; other: 0.5") and shown_lines[3] == "    [rate] of learning"
    assert shown_lines[6] == f"{'parts=1':<34}  whole number or auto" and shown_lines[7] == ""


@pytest.mark.parametrize(
    ("value", "text"), [(None, "null"), (True, "true"), ([1, "a", None], "[1,a,null]"), ([], "[]"), (0.5, "0.5")]
)
def test_values_are_shown_as_yaml(value: Any, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("a.lenght", "a.length"),  # in its own section first, though b.lenghts is nearer
        ("length", "a.length"),  # of equal ones the first
        ("b.width", "a.width"),
        ("LR", "b.rate"),
        ("c.lr", "b.rate"),
        ("qqqq", None),
    ],
)
def test_the_key_that_was_meant(name: str, meant: str | None) -> None:
    assert nearest(name, ["a.length", "a.width", "b.length", "b.lenghts", "b.rate"], {"lr": "b.rate"}) == meant
