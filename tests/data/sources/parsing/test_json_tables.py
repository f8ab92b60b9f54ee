"""What comes out of the stream, put together again, is what json reads at once."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import data.sources.parsing.json_tables
from data.sources.parsing.json_tables import Tables

NAMES = ("images", "annotations")
TEXTS = st.text(st.sampled_from('ab"\\[]{},:é \n'), max_size=8)
VALUES = st.recursive(
    st.none() | st.integers() | TEXTS,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(TEXTS, each, max_size=3),
)
ROWS = st.lists(st.dictionaries(TEXTS, VALUES, max_size=3), max_size=6)


def read(path: Path) -> tuple[dict[str, list[Any]], Any]:
    tables, found = Tables(path, NAMES), dict[str, list[Any]]()
    for elements in tables:
        found.setdefault(elements.table, []).extend(json.loads(b"[" + elements.text + b"]"))
        place, text = elements.place, elements.text
        assert path.read_bytes().removeprefix(b"\xef\xbb\xbf")[place : place + len(text)] == text
    return found, json.loads(tables.rest)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    images=ROWS,
    annotations=ROWS,
    other=VALUES,
    nested=ROWS,
    block=st.integers(3, 40),
    indent=st.sampled_from([None, 1]),
    mark=st.booleans(),
)
def test_tables_are_those_of_json(
    tmp_path: Path,
    images: list[Any],
    annotations: list[Any],
    other: Any,
    nested: list[Any],
    block: int,
    indent: int | None,
    mark: bool,
) -> None:
    whole = {
        "info": other,
        "annotations": annotations,
        "more": {"images": nested},
        "images": images,
        'a"images': nested,
    }
    path = tmp_path / "a.json"
    text = json.dumps(whole, indent=indent, ensure_ascii=bool(len(nested) % 2))
    path.write_bytes(b"\xef\xbb\xbf" * mark + text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data.sources.parsing.json_tables, "BLOCK", block)
        found, rest = read(path)
    assert found == {name: whole[name] for name in NAMES if whole[name]}
    assert rest == whole | {"images": [], "annotations": []}


@pytest.mark.parametrize(
    "text",
    [
        '{"images": [{},]}',
        '{"images": [{} {}]}',
        '{"images": [,{}]}',
        '{"images": [{}]',
        '{"images": [{}]}}',
        '{"images": [{"a": "b}]}',
        '{"images": [{"a": [}]}',
        '{"images": [{}], x}',
        '{"images": {}]}',
        "",
    ],
)
@pytest.mark.parametrize("block", [1, 5, 1 << 20])
def test_what_is_no_json_does_not_become_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, block: int
) -> None:
    monkeypatch.setattr(data.sources.parsing.json_tables, "BLOCK", block)
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(json.JSONDecodeError):
        read(tmp_path / "a.json")


@pytest.mark.parametrize("again", ["[]", '[{"id": 1}]'])
def test_a_table_comes_once(tmp_path: Path, again: str) -> None:
    path = tmp_path / "twice.json"
    path.write_text(
        f'{{"images": [{{"images": [[1]]}}], "annotations": [], "note": [], "note": [], "images": {again}}}'
    )
    with pytest.raises(ValueError, match=r"twice\.json: expected images once, found it a second time"):
        read(path)


def test_a_text_without_end_is_not_read_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.sources.parsing.json_tables, "BLOCK", 100)
    monkeypatch.setattr(data.sources.parsing.json_tables, "MAX_ELEMENT", 1000)
    path = tmp_path / "a.json"
    path.write_text('{"images": [{"a": "')
    os.truncate(path, 10**9)
    tables = Tables(path, NAMES)
    assert list(tables) == [] and len(tables.rest) < 2000
