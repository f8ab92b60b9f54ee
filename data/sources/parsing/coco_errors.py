"""COCO's JSON decoded, with errors that name the file, the row and the value."""

import re
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from data.sources.parsing.json_tables import Elements

Row = TypeVar("Row")


def rows_of(path: Path, elements: Elements, kind: type[Row], first: int) -> list[Row]:
    """Decodes rows of a table. first: number of the first one in its table."""
    text = b"[" + elements.text + b"]"
    try:
        return msgspec.json.decode(text, type=list[kind])  # type: ignore[valid-type]
    except (ValueError, RecursionError):
        raws = _decode(path, text, list[msgspec.Raw], elements.place - 1)
    for number, raw in enumerate(raws, start=first):
        try:
            msgspec.json.decode(raw, type=kind)
        except ValueError as error:
            id_ = re.search(rb'"id"\s*:\s*("[^"]*"|[^\s,}]*)', bytes(raw))
            name = f"id {id_[1].decode(errors='replace')[:80]}" if id_ else f"number {number}, without id"
            raise ValueError(
                f"{path}: {elements.table}, {name}: {_problem(raw, error)}; correct it, or remove it"
            ) from None
    raise AssertionError("rows that decode one by one decode together")


def _decode(path: Path, text: bytes, kind: type[Any], place: int = 0) -> Any:
    """Decodes a text. place: its offset in the file."""
    try:
        return msgspec.json.decode(text, type=kind)
    except (ValueError, RecursionError) as error:
        found = re.search(r"\(byte (\d+)\)", str(error))
        at = int(found[1]) if found else 0
        near = text[max(0, at - 100) : at + 20].decode(errors="replace") if found else ""
        if found and (number := re.match(rb"(?:-I|I|N)(?:nfinity|aN)", text[max(0, at - 1) : at + 12].lstrip(b" :,["))):
            raise ValueError(
                f"{path}: expected numbers, found {number[0].decode()} in {near!r}, which is not JSON; write a "
                "number, or remove the key"
            ) from None
        reason = str(error).replace(f"(byte {at})", f"(byte {place + at})") + (f" after {near!r}" if near else "")
        raise ValueError(
            f"{path}: expected COCO's JSON with images, annotations and categories, found: {reason}; fetch or write "
            "the file again"
        ) from None


def _problem(raw: msgspec.Raw, error: ValueError) -> str:
    """msgspec's sentence, with the value it is about."""
    said, _, place = str(error).partition(" - at `$.")
    key = re.escape(re.sub(r"\W.*", "", place)).encode()
    found = re.search(rb'"%s"\s*:\s*(\[[^\]]*\]|"[^"]*"|[^\s,}]*)' % key, bytes(raw)) if key else None
    said = said[:1].lower() + said[1:]
    return f"{key.decode()}: {said}, found {found[1].decode(errors='replace')[:80]}" if found else said


def require_tables(path: Path, rest: bytes, tables: type[Any]) -> None:
    """Checks the file without the elements of its tables. ValueError says what is there in place of a table."""
    given = _decode(path, rest, Any)
    try:
        msgspec.convert(given, tables)
    except msgspec.ValidationError as error:
        keys = ", ".join(map(str, given)) if isinstance(given, dict) else ""
        shape = f"an object of {keys[:200]}" if keys else f"a value of type {type(given).__name__}"
        raise ValueError(
            f"{path}: expected COCO's JSON with images, annotations and categories, found {shape} ({error}); export "
            "the set as COCO's instances, or convert it first, as docs/data.md says"
        ) from None
