"""Rows of a JSON; test_coco.py has more, through the whole reader."""

import json
from pathlib import Path
from typing import Any

import pytest

from data.sources.parsing.coco_json import read_instances
from data.sources.rules.objects import CROWD


def write(tmp_path: Path, ids: list[Any], image_id: Any, **annotation: Any) -> Path:
    images = [{"id": id_, "file_name": f"{n}.jpg", "width": 9, "height": 9} for n, id_ in enumerate(ids)]
    one = {"image_id": image_id, "category_id": 0, "bbox": [1, 2, 3, 4]} | annotation
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"images": images, "annotations": [one], "categories": [{"id": 0, "name": "a"}]}))
    return path


def test_edges_and_marks(tmp_path: Path) -> None:
    objects = read_instances(write(tmp_path, [1], 1, iscrowd=True, area=5)).objects
    assert objects.xyxy_px(slice(None)).tolist() == [[1, 2, 4, 6]]
    assert objects.marks.tolist() == [CROWD] and objects.area_px.tolist() == [5]
    with pytest.raises(ValueError, match="annotation 0: expected image_id from images, found 'x'"):
        read_instances(write(tmp_path, [1], "x"))
    with pytest.raises(ValueError, match="bbox: expected `float`, got `str`"):
        read_instances(write(tmp_path, [1], 1, bbox=["1", 2, 3, 4]))
