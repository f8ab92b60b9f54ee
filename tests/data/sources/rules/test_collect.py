"""The rules that all annotation formats share; each format's own tests try more."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.sources.rules.choose import Choice
from data.sources.rules.collect import Found, Picture, collect, safe_key
from data.sources.rules.objects import Objects


def found(folder: Path, count: int = 6, **fields: Any) -> Found:
    """Image i has an object of class i % 3."""
    pictures = []
    for number in range(count):
        path = folder / f"{number}.jpg"
        path.touch()
        pictures.append(Picture(f"{number}", f"id {number}", str(path), 100, 80, folder / "all.txt"))
    objects = [(n, (10, 10, 20, 20), float("nan"), n % 3, False, n == 1, False, n) for n in range(count)]
    known = {"source": "some all", "root": folder, "classes": ["a", "b", "c"], "category_ids": [3, 5, 9]}
    known |= {"all_classes": True, "pictures": pictures, "objects": Objects.of_rows(objects), "noun": "line"}
    return Found(**known | fields)


def test_records_keep_what_the_source_says(tmp_path: Path) -> None:
    annotations = collect(found(tmp_path), Choice())
    assert (annotations.source, annotations.category_ids, annotations.dropped) == ("some all", (3, 5, 9), {})
    assert [record.image_id for record in annotations.records] == [f"id {n}" for n in range(6)]
    assert [record.labels.tolist() for record in annotations.records] == [[0], [1], [2], [0], [1], [2]]
    assert annotations.records[1].crowd.tolist() == [True] and annotations.records[0].areas_px.tolist() == [100]


def test_objects_may_come_in_any_order(tmp_path: Path) -> None:
    turned = found(tmp_path)
    turned.objects.take(np.arange(6)[::-1])
    records = collect(turned, Choice()).records
    assert [record.labels.tolist() for record in records] == [[0], [1], [2], [0], [1], [2]]


@pytest.mark.parametrize("name", ["a", "IMG_0001", "a-b+c", "k" * 95, "(1)~"])
def test_keys_that_are_names(name: str) -> None:
    assert safe_key(name) == name


@pytest.mark.parametrize("name", ["a b", "é", "фото", "k" * 96, "", "a\\b", "x\x7f", "日" * 90, "\udcff"])
def test_keys_of_other_names(name: str) -> None:
    assert re.fullmatch(r"[!-~]{1,95}", safe_key(name)) and not set(safe_key(name)) & set("./\\")
    assert safe_key(name) != safe_key(f"{name} ")
