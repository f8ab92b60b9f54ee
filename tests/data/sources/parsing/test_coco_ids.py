"""Ids of any kind become numbers."""

from pathlib import Path
from typing import Any

import pytest

from data.sources.parsing.coco_json import read_instances
from tests.data.sources.parsing.test_coco_json import write


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
