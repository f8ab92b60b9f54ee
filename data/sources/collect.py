"""From all that a source says to the records that are wanted of it: the same rules for every annotation format."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.records import Annotations, Findings, Record, listed
from data.sources.choose import Choice, chosen_classes, chosen_rows
from data.sources.files import nfc
from data.sources.suspicious import look_at_boxes, look_at_names

OBJECT = np.dtype(
    [
        ("picture", "i8"),  # its row
        ("xyxy_px", "f8", 4),  # continuous edges from 0, not clipped
        ("area_px", "f8"),  # nan: that of the box
        ("label", "i4"),
        ("difficult", "?"),
        ("crowd", "?"),
        ("flat", "?"),  # has no area, whatever its edges say
        ("number", "i8"),  # by which its file knows it, for messages
    ]
)


class Picture(NamedTuple):
    """One image of a source."""

    name: str  # path below the folder of images without the ending: decides the key, and what is held out
    image_id: str
    path: Path
    width: int
    height: int
    file: Path  # its annotations, for messages


@dataclass(frozen=True, kw_only=True)
class Found:
    """All that the splits of a source say, before anything is chosen. C classes, N pictures, M objects."""

    source: str  #: for people
    root: Path
    classes: Sequence[str]  #: [C]
    category_ids: Sequence[int]  #: [C]
    all_classes: bool  #: the source lists its classes; False: they are those of the objects
    pictures: Sequence[Picture]  #: [N]
    objects: NDArray[Any]  #: [M] of OBJECT
    noun: str  #: what an object is in its file: "object 3", "line 3"
    findings: Findings = field(default_factory=Findings)
    source_ids: dict[str, dict[str, str]] = field(default_factory=dict)


def collect(found: Found, choice: Choice) -> Annotations:
    classes = chosen_classes(choice, found.classes, found.root, all_listed=found.all_classes)
    label_of = {name: label for label, name in enumerate(classes)}
    labels = np.array([label_of.get(name, -1) for name in found.classes], np.int16)[found.objects["label"]]
    names = [picture.name for picture in found.pictures]
    rows = chosen_rows(choice, names, found.objects["picture"], labels >= 0, found.root)
    there = np.isin(found.objects["picture"], rows)
    others = int((there & (labels < 0)).sum())
    objects, labels = found.objects[there & (labels >= 0)], labels[there & (labels >= 0)]
    order = np.argsort(objects["picture"], kind="stable")
    objects, labels = objects[order], labels[order]

    sizes_px = np.array([picture[3:5] for picture in found.pictures], np.float64).reshape(-1, 2)
    boxes_xyxy_px = np.clip(objects["xyxy_px"], 0, np.tile(sizes_px, 2)[objects["picture"]])
    degenerate = objects["flat"] | (boxes_xyxy_px[:, 2:] <= boxes_xyxy_px[:, :2]).any(1)
    if degenerate.any() and not choice.drop_degenerate:
        wrong = [_place(found, one) for one in objects[degenerate]]
        raise ValueError(
            f"{found.root}: expected boxes with an area inside the image, found {len(wrong)} others; correct the "
            f"files, or leave out such objects with --drop-degenerate{listed(wrong)}"
        )
    objects, labels, boxes_xyxy_px = objects[~degenerate], labels[~degenerate], boxes_xyxy_px[~degenerate]
    findings = Findings(dict(found.findings.found))
    look_at_names(findings, classes)
    look_at_boxes(findings, objects["xyxy_px"], boxes_xyxy_px, lambda row: _place(found, objects[row], short=True))
    dropped = {"degenerate boxes": int(degenerate.sum()), "objects of other classes": others}
    return Annotations(
        source=_source(found, classes, len(rows)),
        classes=tuple(classes),
        category_ids=_category_ids(found, classes),
        records=_records(found, rows, objects, labels, boxes_xyxy_px),
        dropped={reason: number for reason, number in dropped.items() if number},
        findings=findings,
        source_ids=found.source_ids,
    )


def _category_ids(found: Found, classes: Sequence[str]) -> tuple[int, ...]:
    if not found.all_classes:
        return tuple(range(1, len(classes) + 1))
    number_of = dict(zip(found.classes, found.category_ids, strict=True))
    return tuple(number_of[name] for name in classes)


def _source(found: Found, classes: Sequence[str], images: int) -> str:
    kept = [(len(classes), len(found.classes), "classes"), (images, len(found.pictures), "images")]
    parts = [f"{part} of {whole} {what}" for part, whole, what in kept if part < whole]
    return found.source + (f" ({', '.join(parts)})" if parts else "")


def _place(found: Found, one: Any, *, short: bool = False) -> str:
    picture = found.pictures[one["picture"]]
    edges = ", ".join(f"{edge:.6g}" for edge in one["xyxy_px"])
    name = found.classes[one["label"]]
    file = picture.file.name if short else picture.file
    return f"{file}: {found.noun} {one['number']} ({name}) [{edges}] in {picture.width}x{picture.height}"


# -------------------------------------------------------------------------------------------------------- as records


def _records(
    found: Found,
    rows: NDArray[np.int64],
    objects: NDArray[Any],
    labels: NDArray[np.int16],
    boxes_xyxy_px: NDArray[np.float64],
) -> list[Record]:
    areas_px = (boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]).prod(1)
    areas_px = np.where(np.isnan(objects["area_px"]), areas_px, objects["area_px"])
    starts = np.searchsorted(objects["picture"], rows)
    stops = np.searchsorted(objects["picture"], rows, side="right")
    pictures = [found.pictures[row] for row in rows.tolist()]
    if missing := [str(picture.path) for picture in pictures if not picture.path.is_file()]:
        raise ValueError(
            f"{found.root}: expected {len(pictures)} images, {len(missing)} are not there; unpack them, or say where "
            f"they are: python -m data.shards {found.source.split()[0]} --help{listed(missing)}"
        )
    records = []
    for picture, key, start, stop in zip(pictures, _keys(found.root, pictures), starts, stops, strict=True):
        mine = slice(start, stop)
        records.append(
            Record(
                key=key,
                image_id=picture.image_id,
                image=picture.path,
                width=picture.width,
                height=picture.height,
                boxes_xyxy_px=boxes_xyxy_px[mine],
                areas_px=areas_px[mine],
                labels=labels[mine],
                difficult=objects["difficult"][mine],
                crowd=objects["crowd"][mine],
            )
        )
    return records


def safe_key(name: str) -> str:
    """A name for inside a tar: up to 95 printable letters of ASCII but for dot, slash and back slash."""
    key = re.sub(r"[./]", "_", name)
    return key if re.fullmatch(r"[!-\[\]-~]{1,95}", key) else _with_hash(name)


def _with_hash(name: str) -> str:
    digest = hashlib.sha256(nfc(name).encode(errors="surrogateescape")).hexdigest()
    return re.sub(r"[^!-~]|[./\\]", "_", name)[:80] + "-" + digest[:12]


def _keys(root: Path, pictures: Sequence[Picture]) -> list[str]:
    """Where two names would become the same key, the later one gets a hash."""
    keys: dict[str, Picture] = {}
    for picture in pictures:
        key = safe_key(picture.name)
        if key in keys and picture.path.resolve() != keys[key].path.resolve():
            key = _with_hash(f"{picture.name}-{picture.image_id}")
        if key in keys:
            raise ValueError(
                f"{root}: expected each image once, found {picture.path} again; leave out one of the splits, or take "
                "it off one of the lists"
            )
        keys[key] = picture
    return list(keys)
