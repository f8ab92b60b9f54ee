"""Keys of a config, read from the dataclasses of its sections; unit and meaning come from a field's comment.

batch: int = 64  #: [images] of one step, over all processes
"""

import difflib
import inspect
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, NamedTuple

COMMENT = re.compile(r"    (?P<name>\w+): .*?#: (?:\[(?P<unit>[^]]+)\] )?(?P<meaning>.*)")
KINDS = {int: "whole number", float: "number", bool: "true or false", str: "text", type(None): "null"}


class Key(NamedTuple):
    name: str  # "data.batch"
    kind: str  # allowed values, described
    default: Any  # MISSING: required
    unit: str  # "" if not a number
    meaning: str


def keys_of(section: type, prefix: str = "") -> list[Key]:
    """Keys of a dataclass and of those nested in it, in order."""
    comments = {found["name"]: found for found in COMMENT.finditer(inspect.getsource(section))}
    hints = typing.get_type_hints(section)
    keys = []
    for item in fields(section):
        name, inner = prefix + item.name, _section_in(hints[item.name])
        if inner is not None:
            keys += keys_of(inner, f"{name}.")
        else:
            comment = comments.get(item.name)
            unit, meaning = (comment["unit"] or "", comment["meaning"]) if comment else ("", "")
            keys.append(Key(name, kind_of(hints[item.name]), _default(item), unit, meaning))
    return keys


def kind_of(hint: Any) -> str:
    """The description of a type; in a union of number and text, the text is `auto`."""
    if hint is Any:
        return "list of numbers or auto"
    if typing.get_origin(hint) is typing.Literal:
        *all_but_last, last = typing.get_args(hint)
        return f"{', '.join(all_but_last)} or {last}" if all_but_last else last
    if typing.get_origin(hint) is list:
        return f"list of {kind_of(typing.get_args(hint)[0])}s".replace("texts", "text")
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        of = typing.get_args(hint)
        return " or ".join("auto" if each is str and {int, float} & set(of) else kind_of(each) for each in of)
    return KINDS[hint]


def text_keys(section: type, prefix: str = "") -> set[str]:
    """Keys whose values are text, a choice of words or a list of text, possibly null."""
    hints, keys = typing.get_type_hints(section), set[str]()
    for item in fields(section):
        inner = _section_in(hints[item.name])
        if inner is not None:
            keys |= text_keys(inner, f"{prefix}{item.name}.")
        elif _is_text(hints[item.name]):
            keys.add(prefix + item.name)
    return keys


def _is_text(hint: Any) -> bool:
    of = [each for each in typing.get_args(hint) if each is not type(None)]
    if typing.get_origin(hint) in (list, typing.Union, types.UnionType):
        return all(map(_is_text, of))
    return hint is str or typing.get_origin(hint) is typing.Literal


def nearest(name: str, known: Iterable[str], others: Mapping[str, str]) -> str | None:
    """The key, in any section, that was probably meant. others: {another program's key: this one's}."""
    known, plain = list(known), name.lower().replace("-", "_")
    last = plain.rpartition(".")[2]
    by_last: dict[str, str] = {}
    for key in known:
        by_last.setdefault(key.rpartition(".")[2], key)  # among equals, the first section's
    section = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == plain.rpartition(".")[0]}
    for near in (
        [last] if last in by_last else [],
        [section[close] for close in difflib.get_close_matches(last, section, 1, 0.7)],
        [others[last]] if last in others else [],
        difflib.get_close_matches(plain, known, 1, 0.8),
        difflib.get_close_matches(last, by_last, 1, 0.6),
    ):
        if near:
            return by_last.get(near[0], near[0])
    return None


def lines(keys: Iterable[Key], other_defaults: Mapping[str, tuple[str, Any]]) -> Iterator[str]:
    """Two lines for each key: how to write it, with its type; unit and meaning.

    other_defaults: {full name: (when, value)} of keys whose default depends on something.
    """
    for key in keys:
        written = f"{key.name}={'' if key.default is MISSING else shown(key.default)}"
        notes = [key.kind]
        if key.default is MISSING:
            notes.append("required")
        if key.name in other_defaults:
            when, value = other_defaults[key.name]
            notes += [f"{when}: {shown(value)}"] * (value != key.default)
        yield f"{written:<34}  {'; '.join(notes)}"
        yield f"    {f'[{key.unit}] ' * bool(key.unit)}{key.meaning}".rstrip()


def shown(value: Any) -> str:
    """A value as YAML writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{','.join(map(shown, value))}]" if isinstance(value, list) else str(value)


def _section_in(hint: Any) -> type | None:
    options = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    return next((option for option in options if isinstance(option, type) and is_dataclass(option)), None)


def _default(item: "Field[Any]") -> Any:
    return item.default_factory() if item.default_factory is not MISSING else item.default
