"""Ids of any kind become numbers."""

import json
from pathlib import Path
from typing import Any

import pytest

from data.sources.parsing.coco_json import read_instances


def write(tmp_path: Path, ids: list[Any], image_id: Any, **annotation: Any) -> Path:
    images = [{"id": id_, "file_name": f"{n}.jpg", "width": 9, "height": 9} for n, id_ in enumerate(ids)]
    one = {"image_id": image_id, "category_id": 0, "bbox": [1, 2, 3, 4]} | annotation
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": images, "annotations": [one], "categories": [{"id": 0, "name": "a"}]}))
    return path


@pytest.mark.parametrize(
    ("ids", "image_id", "numbers", "row"),
    [
        ([7, 3], 3.0, [3, 7], 0),
        (["7", 3.0], "3", [3, 7], 0),
        (["b", "a"], "a", [1, 2], 1),
        (["x", 12, 1.5, -4], "1.5", [12, 13, 14, 15], 2),
        ([2**62, "9" * 18], 2**62, [10**18 - 1, 2**62], 1),
    ],
)
def test_ids(tmp_path: Path, ids: list[Any], image_id: Any, numbers: list[int], row: int) -> None:
    found = read_instances(write(tmp_path, ids, image_id))
    assert [image.id for image in found.images] == numbers and found.objects.picture.tolist() == [row]


@pytest.mark.parametrize("ids", [[1, "1"], [1.0, 1], ["a", "a"], [""], ["e\u0301", "\u00e9"]])
def test_ids_that_are_the_same(tmp_path: Path, ids: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"a\.json: expected each id of images once, found .* again"):
        read_instances(write(tmp_path, ids, ids[0]))
