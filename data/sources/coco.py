"""COCO's `instances` JSON and a folder of images -> `Annotations`: what the sharder reads.

A bbox is x, y, width, height in px from the image's corner. It becomes edges, clipped to the image; an object of which
nothing is left (train2017 has some of width or height 0) is left out and counted. Areas stay those of the JSON: they
are of the segmentation, and evaluation sorts objects by them. Segmentations are passed over.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from data.randomness import Purpose, random_bits
from data.records import Annotations, Record
from data.shards.sidecar import MAX_SIDE_PX
from data.shards.tar import IMAGE_EXTENSIONS

NUM_LISTED = 10  # an error about many things shows this many of them

Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
SidePx = Annotated[int, msgspec.Meta(ge=1, le=MAX_SIDE_PX)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]
Row = TypeVar("Row")


class _Image(msgspec.Struct, gc=False):
    id: Id
    file_name: str
    width: SidePx
    height: SidePx


class _Annotation(msgspec.Struct, gc=False):
    id: Id
    image_id: Id
    category_id: Id
    bbox: tuple[float, float, NotNegative, NotNegative]
    area: NotNegative | None = None  # w * h
    iscrowd: Literal[0, 1] = 0


class _Category(msgspec.Struct, gc=False):
    id: Id
    name: Annotated[str, msgspec.Meta(min_length=1)]


class _Tables(msgspec.Struct):
    """The file, its rows not yet decoded. One at a time they need no memory: 860,001 at once as much as the text."""

    images: list[msgspec.Raw]
    annotations: list[msgspec.Raw]
    categories: list[msgspec.Raw]


class _Instances(NamedTuple):
    """One JSON, checked: every id once, every reference to something that is there."""

    images: list[_Image]  # [N] in order of id
    categories: list[_Category]  # in order of id
    objects: NDArray[Any]  # [M] of OBJECT


OBJECT = np.dtype(
    [("id", "i8"), ("image_id", "i8"), ("category_id", "i8"), ("xywh", "f8", 4), ("area", "f8"), ("crowd", "?")]
)


def read_coco(
    root: Path,
    splits: Sequence[str],
    classes: Sequence[str] | None = None,
    *,
    count: int | None = None,
    keep_others: bool = False,
) -> Annotations:
    """A split is "val2017" for root/annotations/instances_val2017.json and root/val2017 (or root/images/val2017), or
    "JSON:FOLDER", both under root; without a folder the images are beside the JSON.

    Classes are all categories in order of id; with `classes` those, in that order, and images that show only others are
    left out unless keep_others. Images without any object always stay. `count` keeps so many of these images, as if at
    random but always the same; fewer are a subset of more.
    """
    sources = [_files(root, split) for split in splits]
    read = [_read(path) for path, _ in sources]
    categories = read[0].categories
    for (path, _), instances in zip(sources, read, strict=True):
        if instances.categories != categories:
            raise ValueError(f"{path}: expected the categories of {sources[0][0]}, found others; read them separately")
    ids = {category.name: category.id for category in categories}
    classes = list(ids) if classes is None else classes
    if wrong := [name for name in classes if name not in ids or classes.count(name) > 1]:
        raise ValueError(
            f"{sources[0][0]}: expected --classes out of {', '.join(ids)}, each once; found {wrong[0]}; correct it"
        )
    found: list[tuple[Record, int]] = []
    for (_, folder), instances in zip(sources, read, strict=True):
        found += _records(instances, folder, classes, keep_others)
    _refuse_twice(root, f"images of {', '.join(splits)}", [int(record.image_id) for record, _ in found])
    if count is not None:
        if not 0 < count <= len(found):
            raise ValueError(f"{root}: expected --count from 1 to {len(found)}, the images there are; found {count}")
        drawn = np.argsort(random_bits(len(found), Purpose.WRITING, 0), kind="stable")[:count]
        found = [found[place] for place in sorted(drawn)]
    records = [record for record, _ in found]
    if missing := [str(record.image) for record in records if not record.image.is_file()]:
        raise ValueError(
            f"{root}: expected {len(records)} images, {len(missing)} are not there; unpack them, or say where they are "
            "with --split JSON:FOLDER\n  " + "\n  ".join(missing[:NUM_LISTED])
        )
    total = sum(len(instances.images) for instances in read)
    kept = [(len(classes), len(categories), "classes"), (len(records), total, "images")]
    parts = [f"{part} of {whole} {what}" for part, whole, what in kept if part < whole]
    source = " ".join(["coco", *splits]) + (f" ({', '.join(parts)})" if parts else "")
    degenerate = sum(number for _, number in found)
    dropped = {"degenerate boxes": degenerate} if degenerate else {}
    return Annotations(source, tuple(classes), tuple(ids[name] for name in classes), records, dropped)


def _files(root: Path, split: str) -> tuple[Path, Path]:
    """JSON and folder of images."""
    name, _, images = split.partition(":")
    if name.endswith(".json"):
        path = root / name
        folder = root / images if images else path.parent
    else:
        path = root / "annotations" / f"instances_{split}.json"
        folder = next((there for there in (root / split, root / "images" / split) if there.is_dir()), root / split)
    if not path.is_file():
        there = ", ".join(str(other.relative_to(root)) for other in sorted(root.glob("**/*.json"))[:NUM_LISTED])
        raise ValueError(
            f"{path}: expected instances in JSON, found no such file; under {root} there is {there or 'no JSON'}; name "
            "a split val2017, or JSON:FOLDER with the images in FOLDER"
        )
    return path, folder


def _records(
    instances: _Instances, folder: Path, classes: Sequence[str], keep_others: bool
) -> list[tuple[Record, int]]:
    """In order of image id; each with the number of its degenerate boxes."""
    images, objects = instances.images, instances.objects
    label_of = {name: label for label, name in enumerate(classes)}
    labels_of = np.array([label_of.get(category.name, -1) for category in instances.categories], np.int16)
    labels = labels_of[np.searchsorted([category.id for category in instances.categories], objects["category_id"])]
    owners = np.searchsorted([image.id for image in images], objects["image_id"])
    sizes_px = np.array([(image.width, image.height) for image in images], np.float64)

    xywh = objects["xywh"]
    boxes_xyxy_px = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    boxes_xyxy_px = np.clip(boxes_xyxy_px, 0, np.tile(sizes_px[owners], 2))
    has_area = (boxes_xyxy_px[:, 2:] > boxes_xyxy_px[:, :2]).all(1)
    chosen = labels >= 0
    degenerate = np.bincount(owners[chosen & ~has_area], minlength=len(images))
    only_others = (np.bincount(owners, minlength=len(images)) > 0) & (
        np.bincount(owners[chosen], minlength=len(images)) == 0
    )

    order = np.flatnonzero(chosen & has_area)
    order = order[np.argsort(owners[order], kind="stable")]
    starts = np.searchsorted(owners[order], np.arange(len(images) + 1))
    boxes_xyxy_px, labels, crowd = boxes_xyxy_px[order], labels[order], objects["crowd"][order]
    areas_px = objects["area"][order]
    areas_px = np.where(np.isnan(areas_px), (boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]).prod(1), areas_px)
    difficult = np.zeros(len(order), np.bool_)
    found = []
    for row, image in enumerate(images):
        if only_others[row] and not keep_others:
            continue
        mine = slice(starts[row], starts[row + 1])
        record = Record(
            key=re.sub(r"[./]", "_", str(PurePosixPath(image.file_name).with_suffix(""))),
            image_id=str(image.id),
            image=folder / image.file_name,
            width=image.width,
            height=image.height,
            boxes_xyxy_px=boxes_xyxy_px[mine],
            areas_px=areas_px[mine],
            labels=labels[mine],
            difficult=difficult[mine],
            crowd=crowd[mine],
        )
        found.append((record, int(degenerate[row])))
    return found


# --------------------------------------------------------------------------------------------------------------- JSON


def _read(path: Path) -> _Instances:
    tables = _decode(path)
    images = sorted(_rows(path, "images", tables.images, _Image), key=lambda image: image.id)
    categories = sorted(_rows(path, "categories", tables.categories, _Category), key=lambda category: category.id)
    annotations = _rows(path, "annotations", tables.annotations, _Annotation)
    nan = float("nan")
    objects = np.fromiter(
        (
            (one.id, one.image_id, one.category_id, one.bbox, nan if one.area is None else one.area, one.iscrowd)
            for one in annotations
        ),
        OBJECT,
        len(tables.annotations),
    )
    image_ids, category_ids = [image.id for image in images], [category.id for category in categories]
    if not images or not categories:
        found = f"{len(images)} images and {len(categories)} categories"
        raise ValueError(f"{path}: expected at least one of each, found {found}; leave the file out")
    _refuse_twice(path, "images", image_ids)
    _refuse_twice(path, "categories", category_ids)
    _refuse_twice(path, "annotations", objects["id"])
    for column, there, table in (("image_id", image_ids, "images"), ("category_id", category_ids, "categories")):
        if (strange := ~np.isin(objects[column], there)).any():
            first = objects[strange][0]
            raise ValueError(
                f"{path}: annotation {first['id']}: expected {column} out of {table}, found {first[column]}; correct"
                " it, or take the annotation out"
            )
    names = [category.name for category in categories]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"{path}: expected each name of categories once, found {min(twice)} again; rename one")
    for image in images:
        name = PurePosixPath(image.file_name)
        if name.is_absolute() or ".." in name.parts or name.suffix.lower()[1:] not in IMAGE_EXTENSIONS:
            raise ValueError(
                f"{path}: image {image.id}: expected a {' or '.join(IMAGE_EXTENSIONS)} file below the folder of images,"
                f" found {image.file_name!r}; correct file_name"
            )
    return _Instances(images, categories, objects)


def _decode(path: Path) -> _Tables:
    text = path.read_bytes()
    try:
        return msgspec.json.decode(text, type=_Tables)
    except (ValueError, RecursionError) as error:
        place = re.search(r"\(byte (\d+)\)", str(error))
        near = text[max(0, int(place[1]) - 100) : int(place[1]) + 20].decode(errors="replace") if place else ""
        raise ValueError(
            f"{path}: expected COCO's JSON with images, annotations and categories, found: {error}"
            f"{f' after {near!r}' if near else ''}; fetch or write the file again"
        ) from None


def _rows(path: Path, table: str, raws: list[msgspec.Raw], kind: type[Row]) -> Iterator[Row]:
    decoder = msgspec.json.Decoder(kind)
    for number, raw in enumerate(raws):
        try:
            yield decoder.decode(raw)
        except ValueError as error:
            id_ = re.search(rb'"id"\s*:\s*("[^"]*"|[^\s,}]*)', bytes(raw))
            name = f"id {id_[1].decode(errors='replace')}" if id_ else f"number {number}, without id"
            raise ValueError(f"{path}: {table}, {name}: {error}; correct it, or take it out") from None


def _refuse_twice(where: Path, table: str, ids: Sequence[int] | NDArray[np.int64]) -> None:
    ordered = np.sort(ids)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise ValueError(f"{where}: expected each id of {table} once, found {twice[0]} again; leave one of them out")
