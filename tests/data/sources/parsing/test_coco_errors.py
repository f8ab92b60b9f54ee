"""Errors in COCO's JSON name the file, the row and the value."""

import json
import re
from pathlib import Path

import pytest

from data.sources.coco import read_coco
from tests.data.sources.test_coco import SET, changed, write_set


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        (changed("annotations", 0, bbox=None), "annotations, id 1: object missing required field `bbox`; correct it"),
        (changed("annotations", 2, bbox=[1, 2, 3]), "id 5: bbox: expected `array` of length 4, found [1, 2, 3]"),
        (changed("annotations", 2, bbox=[1, 2, -3, 4]), "id 5: bbox: expected `float` >= 0.0, found [1, 2, -3, 4]"),
        (changed("annotations", 2, bbox=["1", 2, 3, 4]), "annotations, id 5: bbox: expected `float`, got `str`"),
        (changed("annotations", 2, area=-1), "annotations, id 5: area: expected `float` >= 0.0, found -1; cor"),
        (changed("annotations", 2, iscrowd=2), "annotation 5: expected iscrowd 0 or 1, found 2; correct it"),
        (changed("annotations", 2, image_id=31), "annotation 5: expected image_id from images, found 31; corr"),
        (changed("annotations", 2, image_id="x" * 5000), "annotation 5: expected image_id from images, found 'xxx"),
        (changed("annotations", 2, category_id=4), "annotation 5: expected category_id from categories, found 4"),
        (changed("images", 1, width=0), "images, id 7: width: expected `float` >= 1.0, found 0; correct it"),
        (changed("images", 1, width=9.5), "image 7: expected width and height in whole px, found 9.5"),
        (changed("images", 1, height=70_000), "images, id 7: height: expected `float` <= 65535.0, found 70000"),
        (changed("images", 1, height=None), "images, id 7: object missing required field `height`"),
        (changed("images", 1, id=9), "expected each id of images once, found 9 again"),
        (changed("images", 1, file_name="../a.jpg"), "image 7: expected a file below the folder of images that ends"),
        (changed("images", 1, file_name="/a.jpg"), "found '/a.jpg'; correct file_name"),
        (changed("images", 1, file_name="x" * 5000 + ".jpg"), "expected 4 images, 1 missing; unpack them, or say wh"),
        (changed("images", 1, file_name="a"), "found 'a'; correct file_name"),
        (changed("categories", 1, id=18), "expected each id of categories once, found 18 again"),
        (changed("categories", 1, name="dog"), "expected each category name once, found dog again; rename one"),
        (changed("categories", 1, name=""), 'categories, id 3: name: expected `str` of length >= 1, found ""'),
        (SET | {"images": [7]}, "images, number 0, without id: expected `object`, got `int`"),
        (SET | {"images": [], "annotations": []}, "expected at least one of each, found images: 0, categories: 3"),
        ({"images": []}, "images, annotations and categories, found an object of images (Object missing requ"),
        ([], "found a value of type list (Expected `object`, got `array`); export the set as COCO's instances, or"),
        ("", "found: Input data was truncated; fetch or write the file again"),
        (json.dumps(SET)[:-9], "found: Input data was truncated; fetch or write the file again"),
        (json.dumps(changed("annotations", 2, area=float("nan"))), "expected numbers, found NaN in '"),
        (json.dumps(changed("annotations", 2, area=float("nan")), separators=(",", ":")), "found NaN in '"),
        (json.dumps(SET).replace("70.5", "1e999"), "annotations, id 5: area: number out of range, found 1e999"),
        ('{"images": ' + "[" * 100_000, "found: maximum recursion depth exceeded"),
    ],
)  # fmt: skip
def test_refused_files(tmp_path: Path, instances: object, message: str) -> None:
    root = write_set(tmp_path, instances)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        read_coco(root, ["mine"])
    assert (
        str(error.value).startswith(f"{root / 'annotations' / 'instances_mine.json'}: ") and len(str(error.value)) < 900
    )


@pytest.mark.parametrize(
    ("other", "shape"),
    [
        (
            {"version": "5.0", "shapes": [{}], "imagePath": "a.jpg"},
            "an object of version, shapes, imagePath",
        ),  # labelme
        ({"a.jpg12": {"filename": "a.jpg", "regions": []}}, "an object of a.jpg12"),  # VIA
        ([{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}], "a value of type list"),  # results
        (SET | {"annotations": None}, "an object of info, images, annotations, categories"),
    ],
)
def test_other_json_is_named(tmp_path: Path, other: object, shape: str) -> None:
    root = write_set(tmp_path, other)
    with pytest.raises(ValueError, match=rf"found {shape} \(.*export the set as COCO's instances, or convert it first"):
        read_coco(root, ["mine"])


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    path = root / "annotations" / "instances_mine.json"
    path.write_bytes(path.read_bytes().replace(b"toothbrush", b"toothbr\xfcsh"))
    with pytest.raises(ValueError, match=r"categories, id 90: 'utf-8' codec can't decode"):
        read_coco(root, ["mine"])
