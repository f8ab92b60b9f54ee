"""One JSON file of COCO's `instances`, checked: every id once, every reference to something that is there.

Takes what pycocotools takes: ids that are 1.0, "7" or words, true for 1, no areas; and a byte order mark. Ids of
annotations are for messages only. One row at a time needs no memory: 860,001 annotations at once as much as the text.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from data.sources.coco_ids import RawId, number_ids, plain_id, rows_by_id
from data.sources.collect import OBJECT
from data.sources.files import IMAGE_SUFFIXES, nfc, read_bytes

MAX_BYTES = 2**34  # of a file: Objects365 has 5 GB
Number = Annotated[float, msgspec.Meta(ge=0)]
Row = TypeVar("Row")


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
    iscrowd: bool | int | None = 0
    id: Any = None


class _Category(msgspec.Struct, gc=False):
    id: RawId
    name: Annotated[str, msgspec.Meta(min_length=1)]
    supercategory: Any = None


class _Tables(msgspec.Struct):
    """The file, its rows not yet decoded."""

    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw]


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
    objects: NDArray[Any]  # [M] of OBJECT: rows of images, labels that are rows of categories
    words: dict[str, dict[int, str]]  # table -> number that an id got which is none -> the id


def read_instances(path: Path) -> Instances:
    tables = _decode(path)
    raw_images, raw_categories = (
        list(_rows(path, "images", tables.images, _Image)),
        list(_rows(path, "categories", tables.categories, _Category)),
    )
    if not raw_images or not raw_categories:
        found = f"{len(raw_images)} images and {len(raw_categories)} categories"
        raise ValueError(f"{path}: expected at least one of each, found {found}; leave the file out")
    image_numbers = number_ids(path, "images", [image.id for image in raw_images])
    category_numbers = number_ids(path, "categories", [category.id for category in raw_categories])
    images = sorted(
        Image(image_numbers[plain_id(one.id)], _checked(path, one), *_size(path, one)) for one in raw_images
    )
    categories = sorted(
        Category(category_numbers[plain_id(one.id)], nfc(one.name), _group(one.supercategory)) for one in raw_categories
    )
    row_of = {
        "image_id": rows_by_id(image_numbers, [image.id for image in images]),
        "category_id": rows_by_id(category_numbers, [category.id for category in categories]),
    }
    objects = np.fromiter(_objects(path, tables.annotations, row_of), OBJECT, len(tables.annotations))
    words = {
        table: {number: plain for plain, number in numbers.items() if isinstance(plain, str)}
        for table, numbers in (("images", image_numbers), ("categories", category_numbers))
    }
    return Instances(images, categories, objects, words)


def _objects(
    path: Path, raws: list[msgspec.Raw], row_of: dict[str, dict[int | str, int]]
) -> Iterator[tuple[object, ...]]:
    nan = float("nan")
    images, categories = row_of["image_id"], row_of["category_id"]
    for place, one in enumerate(_rows(path, "annotations", raws, _Annotation)):
        number = one.id if type(one.id) is int and 0 < one.id < 2**63 else place
        image, label = images.get(plain_id(one.image_id)), categories.get(plain_id(one.category_id))
        if image is None or label is None:
            column, table = ("image_id", "images") if image is None else ("category_id", "categories")
            raise ValueError(
                f"{path}: annotation {number}: expected {column} out of {table}, found {getattr(one, column)!r}; "
                "correct it, or take the annotation out"
            )
        if one.iscrowd not in (0, 1, None):
            raise ValueError(f"{path}: annotation {number}: expected iscrowd 0 or 1, found {one.iscrowd}; correct it")
        x, y, width, height = one.bbox
        area = nan if one.area is None else one.area
        yield image, (x, y, x + width, y + height), area, label, False, bool(one.iscrowd), False, number


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
    """file_name with slashes, below the folder of the images."""
    text = image.file_name if "/" in image.file_name else image.file_name.replace("\\", "/")
    name = PurePosixPath(text)
    if name.is_absolute() or ".." in name.parts or name.suffix.lower() not in IMAGE_SUFFIXES or "\0" in text:
        raise ValueError(
            f"{path}: image {image.id}: expected a file below the folder of images that ends with one of "
            f"{' '.join(IMAGE_SUFFIXES)}, found {image.file_name[:200]!r}; correct file_name"
        )
    return str(name)


def _decode(path: Path) -> _Tables:
    text = read_bytes(path, MAX_BYTES).removeprefix(b"\xef\xbb\xbf")
    try:
        return msgspec.json.decode(text, type=_Tables)
    except (ValueError, RecursionError) as error:
        place = re.search(r"\(byte (\d+)\)", str(error))
        at = int(place[1]) if place else 0
        near = text[max(0, at - 100) : at + 20].decode(errors="replace") if place else ""
        if place and (number := re.match(rb"(?:-I|I|N)(?:nfinity|aN)", text[max(0, at - 1) : at + 12].lstrip(b" "))):
            raise ValueError(
                f"{path}: expected numbers, found {number[0].decode()} in {near!r}, which JSON does not have; write a "
                "number, or take the key out"
            ) from None
        reason = f"{error}{f' after {near!r}' if near else ''}"
        raise ValueError(
            f"{path}: expected COCO's JSON with images, annotations and categories, found: {reason}; fetch or write "
            "the file again"
        ) from None


def _rows(path: Path, table: str, raws: list[msgspec.Raw], kind: type[Row]) -> Iterator[Row]:
    decoder = msgspec.json.Decoder(kind)
    for number, raw in enumerate(raws):
        try:
            yield decoder.decode(raw)
        except ValueError as error:
            id_ = re.search(rb'"id"\s*:\s*("[^"]*"|[^\s,}]*)', bytes(raw))
            name = f"id {id_[1].decode(errors='replace')[:80]}" if id_ else f"number {number}, without id"
            raise ValueError(f"{path}: {table}, {name}: {_problem(raw, error)}; correct it, or take it out") from None


def _problem(raw: msgspec.Raw, error: ValueError) -> str:
    """msgspec's sentence, and what it is about."""
    said, _, place = str(error).partition(" - at `$.")
    key = re.escape(re.sub(r"\W.*", "", place)).encode()
    found = re.search(rb'"%s"\s*:\s*(\[[^\]]*\]|"[^"]*"|[^\s,}]*)' % key, bytes(raw)) if key else None
    said = said[:1].lower() + said[1:]
    return f"{key.decode()}: {said}, found {found[1].decode(errors='replace')[:80]}" if found else said
