"""One JSON file of COCO's `instances`, checked: every id is unique, every reference resolves.

Accepts what pycocotools accepts: ids such as 1.0, "7" or words, true for 1, no areas; and a byte order mark. Ids of
annotations are for messages only. The file is read as a stream; an annotation becomes 57 bytes of columns.
"""

from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np

from data.sources.parsing.coco_errors import require_tables, rows_of
from data.sources.parsing.coco_ids import RawId, ReferringObjects, number_ids, plain_id, rows_by_id
from data.sources.parsing.json_tables import Tables
from data.sources.rules.files import IMAGE_SUFFIXES, nfc, require_file
from data.sources.rules.objects import ROW, Objects

MAX_BYTES = 2**34  # of a file: Objects365 has 5 GB
Number = Annotated[float, msgspec.Meta(ge=0)]


class _Image(msgspec.Struct, gc=False):
    id: RawId
    file_name: str
    width: Annotated[float, msgspec.Meta(ge=1, le=65_535)]
    height: Annotated[float, msgspec.Meta(ge=1, le=65_535)]


class _Annotation(msgspec.Struct, gc=False):
    image_id: RawId
    category_id: RawId
    bbox: tuple[float, float, Number, Number]
    area: Number | None = None  # w * h
    iscrowd: bool | float | None = 0
    id: Any = None


class _Category(msgspec.Struct, gc=False):
    id: RawId
    name: Annotated[str, msgspec.Meta(min_length=1)]
    supercategory: Any = None


class _Rest(msgspec.Struct):
    """The file when its tables are empty."""

    images: list[Any]
    annotations: list[Any]
    categories: list[Any]


class Image(NamedTuple):
    """One row of `images`."""

    id: int
    file_name: str
    width: int
    height: int


class Category(NamedTuple):
    """One row of `categories`."""

    id: int
    name: str
    group: str  # its supercategory, "" for none


class Instances(NamedTuple):
    """One file. N images, C categories, M objects."""

    images: list[Image]  # [N] in order of id
    categories: list[Category]  # [C] in order of id
    objects: Objects  # [M] rows of images, labels that are rows of categories
    words: dict[str, dict[int, str]]  # table -> number given to an id that is not one -> the id


def read_instances(path: Path) -> Instances:
    """Reads a file as a stream, so that memory does not hold its text."""
    raw_images, raw_categories, annotations = list[_Image](), list[_Category](), ReferringObjects(path)
    tables = Tables(require_file(path, MAX_BYTES), _Rest.__struct_fields__)
    for elements in tables:
        if elements.table == "annotations":
            _add(path, annotations, rows_of(path, elements, _Annotation, len(annotations)))
        elif elements.table == "images":
            raw_images += rows_of(path, elements, _Image, len(raw_images))
        else:
            raw_categories += rows_of(path, elements, _Category, len(raw_categories))
    require_tables(path, bytes(tables.rest), _Rest)
    found = f"images: {len(raw_images)}, categories: {len(raw_categories)}"
    if not raw_images or not raw_categories:
        raise ValueError(f"{path}: expected at least one of each, found {found}; leave the file out")
    image_numbers = number_ids(path, "images", [image.id for image in raw_images])
    category_numbers = number_ids(path, "categories", [category.id for category in raw_categories])
    images = sorted(
        Image(image_numbers[plain_id(one.id)], _checked(path, one), *_size(path, one)) for one in raw_images
    )
    categories = sorted(
        Category(category_numbers[plain_id(one.id)], nfc(one.name), _group(one.supercategory)) for one in raw_categories
    )
    words = {
        table: {number: plain for plain, number in numbers.items() if isinstance(plain, str)}
        for table, numbers in (("images", image_numbers), ("categories", category_numbers))
    }
    image_rows = rows_by_id(image_numbers, [image.id for image in images])
    category_rows = rows_by_id(category_numbers, [category.id for category in categories])
    return Instances(images, categories, annotations.objects(image_rows, category_rows), words)


def _add(path: Path, annotations: ReferringObjects, rows: list[_Annotation]) -> None:
    nan, first = float("nan"), len(annotations)
    block = np.zeros(len(rows), ROW)
    block["number"] = [
        one.id if type(one.id) is int and 0 < one.id < 2**63 else place for place, one in enumerate(rows, start=first)
    ]
    if wrong := [place for place, one in enumerate(rows) if one.iscrowd not in (0, 1, None)]:
        number, found = block["number"][wrong[0]], rows[wrong[0]].iscrowd
        raise ValueError(f"{path}: annotation {number}: expected iscrowd 0 or 1, found {found:g}; correct it")
    block["xyxy_px"] = np.array([one.bbox for one in rows], np.float64).reshape(-1, 4)
    with np.errstate(over="ignore"):
        block["xyxy_px"][:, 2:] += block["xyxy_px"][:, :2]
    block["area_px"] = [nan if one.area is None else one.area for one in rows]
    block["crowd"] = [bool(one.iscrowd) for one in rows]
    annotations.add(block, [one.image_id for one in rows], [one.category_id for one in rows])


# -------------------------------------------------------------------------------------------------------------- rows


def _group(supercategory: Any) -> str:
    return "" if supercategory in (None, "none", "None") else nfc(str(supercategory))


def _size(path: Path, image: _Image) -> tuple[int, int]:
    for side in (image.width, image.height):
        if not side.is_integer():
            raise ValueError(
                f"{path}: image {image.id}: expected width and height in whole px, found {side}; correct it"
            )
    return int(image.width), int(image.height)


def _checked(path: Path, image: _Image) -> str:
    """The file_name with slashes, below the folder of images."""
    text = image.file_name if "/" in image.file_name else image.file_name.replace("\\", "/")
    name = PurePosixPath(text)
    if name.is_absolute() or ".." in name.parts or name.suffix.lower() not in IMAGE_SUFFIXES or "\0" in text:
        raise ValueError(
            f"{path}: image {image.id}: expected a file below the folder of images that ends with one of "
            f"{' '.join(IMAGE_SUFFIXES)}, found {image.file_name[:200]!r}; correct file_name"
        )
    return str(name)
