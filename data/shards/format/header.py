"""index.json: what a set of shards is. docs/data.md has every key. Nothing in it is trusted unchecked."""

import hashlib
import json
import re
import reprlib
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from data.wording import is_class_name, is_printable

FORMAT = "yolov2-shards"
VERSION = 2
MAX_BYTES = 2**28
MAX_CLASSES = 32_767  # labels are int16
MOST = 2**48  # of anything that is counted: sums stay numbers of 64 bits
FIELDS = {"source": str, "classes": list, "category_ids": list, "images": int, "objects": int, "dropped": dict}
FIELDS |= {"arrays_sha256": str, "shards": list}  # type of each field of index.json
MADE_ELSEWHERE = "tars that another program wrote: python -m data.shards index FOLDER"


class Shard(NamedTuple):
    """One tar of a set, as index.json lists it."""

    name: str
    bytes: int
    sha256: str
    samples: int


def seal(header: dict[str, Any]) -> bytes:
    """The text of index.json: the header, and a digest of it, so that a changed byte is noticed."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()
    return (json.dumps(header | {"header_sha256": digest}, indent=1) + "\n").encode()


def parse_header(text: bytes, path: Path) -> dict[str, Any]:
    """The header, if these are exactly the bytes that `seal` made."""
    if len(text) > MAX_BYTES:
        raise ValueError(f"{path} is not an index of shards: it has {len(text):,} bytes")
    again = f"make the shards again ({MADE_ELSEWHERE})"
    try:
        header = json.loads(text)
        found = f"{header['format']} version {header['version']}"
        header.pop("header_sha256", None)
        sealed = seal(header)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError(f"{path} is not an index of shards; {again}") from None
    if found != f"{FORMAT} version {VERSION}":
        raise ValueError(f"{path} is {found[:80]}, this program reads {FORMAT} version {VERSION}; {again}")
    if sealed != text:
        raise ValueError(f"{path} is not what was written (its own digest differs); copy it again, or {again}")
    assert isinstance(header, dict)
    for name, kind in FIELDS.items():
        if type(header.get(name)) is not kind:
            raise ValueError(
                f"{path}: expected {name} as in docs/data.md, found {reprlib.repr(header.get(name))}; {again}"
            )
    _check_classes(header, path)
    _check_notes(header, path)
    for shard in header["shards"]:
        kinds = {name: type(value) for name, value in shard.items()} if isinstance(shard, dict) else None
        if kinds != Shard.__annotations__ or not (0 < shard["samples"] < MOST and 0 <= shard["bytes"] < MOST):
            raise ValueError(f"{path}: expected shards as in docs/data.md, found {reprlib.repr(shard)}; {again}")
        if not re.fullmatch(r"[^/\0\ud800-\udfff]+\.tar", shard["name"]):  # staging writes files with these names
            raise ValueError(f"{path}: expected names of tars beside it, found {shard['name'][:200]!r}; {again}")
    twice = [name for name, count in Counter(shard["name"] for shard in header["shards"]).items() if count > 1]
    if twice:
        raise ValueError(f"{path}: expected each of the shards once, found {twice[0][:200]!r} again; {again}")
    return header


def _check_classes(header: dict[str, Any], path: Path) -> None:
    """Checks that class names are distinct words, with a number for each."""
    if len(header["classes"]) > MAX_CLASSES:
        raise ValueError(f"{path}: expected up to {MAX_CLASSES:,} classes, found {len(header['classes']):,}")
    for name in header["classes"]:
        if type(name) is not str or not is_class_name(name):
            raise ValueError(f"{path}: expected classes to be printable names, found {reprlib.repr(name)}")
    if twice := [name for name, count in Counter(header["classes"]).items() if count > 1]:
        raise ValueError(f"{path}: expected distinct classes, found {reprlib.repr(twice[0])} again")
    numbers = header["category_ids"]
    if len(numbers) != len(header["classes"]) or not all(
        type(number) is int and abs(number) < MOST for number in numbers
    ):
        raise ValueError(
            f"{path}: expected a whole number for each class in category_ids, found {reprlib.repr(numbers)}"
        )
    for name in ("images", "objects"):
        if not 0 <= header[name] < MOST:
            raise ValueError(f"{path}: expected a count in {name}, found {reprlib.repr(header[name])}")


def _check_notes(header: dict[str, Any], path: Path) -> None:
    """Checks what is only shown: how much was left out for which reason."""
    for reason, number in header["dropped"].items():
        if not is_printable(reason) or type(number) is not int or not 0 <= number < MOST:
            raise ValueError(f"{path}: expected counts in dropped, found {reprlib.repr({reason: number})}")
