"""Turns all that a source says into the chosen records: the same rules for every annotation format."""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.records import Annotations, Findings, RecordTable
from data.shards.format.sidecar import MAX_IMAGE_ID
from data.sources.rules.choose import Choice, chosen_classes, chosen_rows
from data.sources.rules.files import is_file, nfc
from data.sources.rules.objects import CROWD, DIFFICULT, FLAT, Objects, slices
from data.sources.rules.suspicious import inspect_areas, inspect_boxes, inspect_names
from data.wording import counted, is_printable, listed


class Picture(NamedTuple):
    """One image of a source."""

    name: str  # path below the folder of images, without ending: decides the key, and what is held out
    image_id: str
    path: str
    width: int
    height: int
    file: Path  # with its annotations, for messages


@dataclass(frozen=True, kw_only=True)
class Found:
    """Everything that the splits of a source say, before anything is chosen. C classes, N pictures, M objects."""

    source: str  #: for display
    root: Path
    classes: Sequence[str]  #: [C]
    category_ids: Sequence[int]  #: [C]
    all_classes: bool  #: the source lists its classes; False: they come from its objects
    pictures: Sequence[Picture]  #: [N]
    objects: Objects  #: [M]
    noun: str  #: what an object is called in its file: "object 3", "line 3"
    findings: Findings = field(default_factory=Findings)
    source_ids: dict[str, dict[str, str]] = field(default_factory=dict)

    @cached_property
    def sizes_px(self) -> NDArray[np.float64]:
        """[N, 2] width, height."""
        return np.array([picture[3:5] for picture in self.pictures], np.float64).reshape(-1, 2)


def collect(found: Found, choice: Choice) -> Annotations:
    """The chosen records. Consumes the objects of `found`."""
    classes = chosen_classes(choice, found.classes, found.root, all_listed=found.all_classes)
    label_of = {name: label for label, name in enumerate(classes)}
    label_of_found = np.array([label_of.get(name, -1) for name in found.classes] or [-1], np.int32)
    objects, names = found.objects, [picture.name for picture in found.pictures]
    chosen = label_of_found[objects.label] >= 0
    rows = chosen_rows(choice, names, objects.picture, chosen, found.root)
    there = np.isin(np.arange(len(names)), rows)[objects.picture]
    others = int((there & ~chosen).sum())
    kept = np.flatnonzero(there & chosen)
    del there, chosen
    owners = objects.picture[kept]
    if not (owners[:-1] <= owners[1:]).all():
        kept = kept[np.argsort(owners, kind="stable")]
    objects.take(kept)
    del kept, owners
    num_degenerate = _drop_degenerate(found, choice)
    findings = Findings(dict(found.findings.found))
    inspect_names(findings, classes, found.classes)
    place = partial(_place, found, short=True)
    least_px = found.sizes_px[np.bincount(objects.picture, minlength=len(names)) > 0].min(initial=np.inf)
    inspect_boxes(findings, len(objects), objects.xyxy_px, partial(_clipped, found), place, least_px)
    inspect_areas(findings, objects.area_px, place)
    dropped = {"degenerate boxes": num_degenerate, "objects of other classes": others}
    return Annotations(
        source=_source(found, classes, len(rows)),
        classes=tuple(classes),
        category_ids=_category_ids(found, classes),
        records=_records(found, rows, label_of_found),
        dropped={reason: number for reason, number in dropped.items() if number},
        findings=findings,
        source_ids=found.source_ids,
    )


def _clipped(found: Found, part: slice) -> NDArray[np.float64]:
    """[..., 4] edges of some objects, clipped to their image."""
    limits = np.tile(found.sizes_px[found.objects.picture[part]], 2)
    return np.asarray(np.clip(found.objects.xyxy_px(part), 0, limits))


def _drop_degenerate(found: Found, choice: Choice) -> int:
    """Drops objects without area inside their image, and counts them. ValueError: the choice does not allow it."""
    objects = found.objects
    wrong = (objects.marks & FLAT) > 0
    for part in slices(len(objects)):
        boxes_xyxy_px = _clipped(found, part)
        wrong[part] |= (boxes_xyxy_px[:, 2:] <= boxes_xyxy_px[:, :2]).any(1)
    if wrong.any() and not choice.drop_degenerate:
        flat = dict.fromkeys(np.flatnonzero(objects.marks & FLAT).tolist(), ", corners equal or swapped")
        places = [_place(found, row) + flat.get(row, "") for row in np.flatnonzero(wrong).tolist()]
        raise ValueError(
            f"{found.root}: expected boxes with an area inside the image, found {counted(len(places), 'other')}; "
            f"correct the files, or leave out such objects with --drop-degenerate{listed(places)}"
        )
    if wrong.any():
        objects.take(~wrong)
    return int(wrong.sum())


def _category_ids(found: Found, classes: Sequence[str]) -> tuple[int, ...]:
    if not found.all_classes:
        return tuple(range(1, len(classes) + 1))
    number_of = dict(zip(found.classes, found.category_ids, strict=True))
    return tuple(number_of[name] for name in classes)


def _source(found: Found, classes: Sequence[str], images: int) -> str:
    kept = [(len(classes), len(found.classes), "classes"), (images, len(found.pictures), "images")]
    parts = [f"{part} of {whole} {what}" for part, whole, what in kept if part < whole]
    return found.source + (f" ({', '.join(parts)})" if parts else "")


def _place(found: Found, row: int, *, short: bool = False) -> str:
    picture = found.pictures[found.objects.picture[row]]
    edges = ", ".join(f"{edge:.6g}" for edge in found.objects.xyxy_px(row))
    name = found.classes[found.objects.label[row]][:80]
    file = picture.file.name if short else picture.file
    number = found.objects.number[row]
    return f"{file}: {found.noun} {number} ({name}) [{edges}] in {picture.width}x{picture.height}"


# -------------------------------------------------------------------------------------------------------- as records


def _records(found: Found, rows: NDArray[np.int64], label_of_found: NDArray[np.int32]) -> RecordTable:
    """The records of some pictures; their objects follow their order."""
    objects, pictures = found.objects, [found.pictures[row] for row in rows.tolist()]
    if missing := [picture.path for picture in pictures if not is_file(picture.path)]:
        raise ValueError(
            f"{found.root}: expected {counted(len(pictures), 'image')}, {len(missing):,} missing; unpack them, or say "
            f"where they are: python -m data.shards {found.source.split()[0]} --help{listed(missing)}"
        )
    if odd := [one.path for one in pictures if not is_printable(one.image_id) or len(one.image_id) > MAX_IMAGE_ID]:
        raise ValueError(
            f"{odd[0][:200]!r}: expected a name of up to {MAX_IMAGE_ID} letters, no control characters; rename it"
        )
    starts = np.searchsorted(objects.picture, np.append(rows, len(found.pictures)).astype(np.int32))
    objects.number = objects.number[:0]  # no message needs them any more
    boxes_xyxy_px = np.empty((len(objects), 4))
    for part in slices(len(objects)):
        boxes_xyxy_px[part] = _clipped(found, part)
    objects.left = objects.top = objects.right = objects.bottom = objects.number.astype(np.float64)
    unknown = np.flatnonzero(np.isnan(objects.area_px))
    objects.area_px[unknown] = (boxes_xyxy_px[unknown, 2:] - boxes_xyxy_px[unknown, :2]).prod(1)
    return RecordTable(
        keys=np.array(_keys(found.root, pictures), "S"),
        image_ids=np.array([picture.image_id.encode() for picture in pictures], "S"),
        images=np.array([os.fsencode(picture.path) for picture in pictures], "S"),
        sizes_px=np.array([picture[3:5] for picture in pictures], np.int32).reshape(-1, 2),
        object_starts=starts,
        boxes_xyxy_px=boxes_xyxy_px,
        areas_px=objects.area_px,
        labels=label_of_found.astype(np.int16)[objects.label],
        difficult=(objects.marks & DIFFICULT) > 0,
        crowd=(objects.marks & CROWD) > 0,
    )


def safe_key(name: str) -> str:
    """A name for use in a tar: up to 95 printable ASCII characters except dot, slash and backslash."""
    key = re.sub(r"[./]", "_", name)
    return key if re.fullmatch(r"[!-\[\]-~]{1,95}", key) else _with_hash(name)


def _with_hash(name: str) -> str:
    digest = hashlib.sha256(nfc(name).encode(errors="surrogateescape")).hexdigest()
    return re.sub(r"[^!-~]|[./\\]", "_", name)[:80] + "-" + digest[:12]


def _keys(root: Path, pictures: Sequence[Picture]) -> list[str]:
    """The keys of pictures. If two names would become the same key, the later one gets a hash."""
    keys: dict[str, Picture] = {}
    for picture in pictures:
        key = safe_key(picture.name)
        if key in keys and Path(picture.path).resolve() != Path(keys[key].path).resolve():
            key = _with_hash(f"{picture.name}-{picture.image_id}")
        if key in keys:
            raise ValueError(
                f"{root}: expected each image once, found {picture.path} again; leave out one of the splits, or remove "
                "it from one of the lists"
            )
        keys[key] = picture
    return list(keys)
