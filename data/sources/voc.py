"""Pascal VOC folders (ImageSets, Annotations, JPEGImages) -> `Annotations`: what the sharder reads.

Corners in the files are 1-based and inclusive: a box over a whole row of 500 px runs from 1 to 500. They become
continuous 0-based edges here and nowhere else: x1 = xmin - 1, x2 = xmax.
Differs: darknet's voc_label.py has the centre at (min + max) / 2 - 1 and the size max - min: half a pixel up and left
of this centre, one pixel smaller.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from data.images.boxes import clip
from data.records import Annotations, Record
from data.shards.sidecar import MAX_SIDE_PX

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
NUM_LISTED = 10  # an error about many things shows this many of them


class Annotation(NamedTuple):
    """One annotation file: the objects with a box, and a sentence for each object whose box is degenerate."""

    width: int
    height: int
    names: list[str]
    boxes_xyxy_px: NDArray[np.float64]  # [N, 4] continuous edges, clipped to the image
    difficult: NDArray[np.bool_]  # [N]
    degenerate: list[str]


def read_voc(
    root: Path, splits: Sequence[str], classes: Sequence[str] | None = None, *, drop_degenerate: bool = False
) -> Annotations:
    """A split is "2007:trainval", an image set of root/VOC2007, or "trainval", an image set of root itself.

    Without `classes` they are the sorted names found in these splits (VOC's own order); a set that goes with
    another one is to be read with the classes of that one.
    """
    origin: dict[str, str] = {}  # key -> where it was listed
    found: list[tuple[str, str, Path, Path, Annotation]] = []
    for split in splits:
        year, _, name = split.rpartition(":")
        folder = root / f"VOC{year}" if year else root
        for image_id in _listed(folder, name):
            key, where = image_id.replace(".", "_"), f"{image_id} of {split}"
            if key in origin:
                raise ValueError(
                    f"{root}: expected each image once, found {origin[key]} and {where} (both would be sample {key!r});"
                    " leave out one of the splits, or take one image off its list"
                )
            origin[key] = where
            xml = _existing(folder / "Annotations", image_id, (".xml",), where)
            image = _existing(folder / "JPEGImages", image_id, IMAGE_SUFFIXES, where)
            found.append((key, image_id, image, xml, parse_annotation(_text(xml), xml)))

    degenerate = [sentence for *_, parsed in found for sentence in parsed.degenerate]
    if degenerate and not drop_degenerate:
        raise ValueError(
            f"{root}: expected boxes with an area inside the image, found {len(degenerate)} others; correct"
            " the files, or leave out such objects with --drop-degenerate\n  " + "\n  ".join(degenerate[:NUM_LISTED])
        )
    if classes is None:
        classes = sorted({name for *_, parsed in found for name in parsed.names})
    label_of = {name: label for label, name in enumerate(classes)}
    records = []
    for key, image_id, image, xml, (width, height, names, boxes_xyxy_px, difficult, _) in found:
        if unknown := sorted(set(names) - label_of.keys()):
            known, strange = ", ".join(classes), ", ".join(unknown)
            raise ValueError(f"{xml}: expected objects of the classes {known}; found {strange}; add it to --classes")
        labels, crowd = np.array([label_of[name] for name in names], np.int16), np.zeros(len(names), np.bool_)
        areas_px = (boxes_xyxy_px[:, 2:] - boxes_xyxy_px[:, :2]).prod(1)
        records.append(Record(key, image_id, image, width, height, boxes_xyxy_px, areas_px, labels, difficult, crowd))
    source = " ".join(["voc", *(f"VOC{split}" if ":" in split else split for split in splits)])
    dropped = {"degenerate boxes": len(degenerate)} if degenerate else {}
    return Annotations(source, tuple(classes), tuple(range(1, len(classes) + 1)), records, dropped)


def parse_annotation(text: str, path: Path) -> Annotation:
    """Objects are direct children of the root: a <part> has a <bndbox> too. `path` is for messages only."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities can expand to gigabytes
        raise ValueError(f"{path}: expected plain XML, found a <!DOCTYPE or <!ENTITY declaration; remove it")
    if "\0" in text:  # the parser takes such text for UTF-16, and would find a declaration there
        raise ValueError(f"{path}: expected UTF-8 text, found zero bytes, as in UTF-16; convert the file")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: expected XML, found: {error}; fetch or write the file again") from None
    size = _child(root, "size", f"{path}: the annotation")
    sides = [_number(size, tag, f"{path}: <size>") for tag in ("width", "height")]
    if not all(1 <= side <= MAX_SIDE_PX and side.is_integer() for side in sides):
        raise ValueError(f"{path}: expected the image's size in px, found {sides[0]:g}x{sides[1]:g}; correct it")
    width, height = map(int, sides)

    names, boxes, difficult, degenerate = [], [], [], []
    for number, element in enumerate(root.findall("object"), start=1):
        name = (_child(element, "name", f"{path}: object {number}").text or "").strip()
        if not name.isprintable():
            raise ValueError(f"{path}: object {number}: expected a class in <name>, found {name[:80]!r}; correct it")
        where = f"{path}: object {number} ({name})"
        corners = _child(element, "bndbox", where)
        xmin, ymin, xmax, ymax = (_number(corners, tag, where) for tag in ("xmin", "ymin", "xmax", "ymax"))
        box_xyxy_px = clip(np.array([xmin - 1, ymin - 1, xmax, ymax], np.float64), width, height)
        if xmax <= xmin or ymax <= ymin or (box_xyxy_px[2:] <= box_xyxy_px[:2]).any():
            edges = f"xmin={xmin:g} xmax={xmax:g} ymin={ymin:g} ymax={ymax:g}"
            degenerate.append(f"{where} has {edges} in {width}x{height}")
            continue
        names.append(name)
        boxes.append(box_xyxy_px)
        difficult.append(element.find("difficult") is not None and _number(element, "difficult", where) != 0)
    boxes_xyxy_px = np.array(boxes, np.float64).reshape(-1, 4)
    return Annotation(width, height, names, boxes_xyxy_px, np.array(difficult, np.bool_), degenerate)


def _child(parent: ElementTree.Element, tag: str, where: str) -> ElementTree.Element:
    child = parent.find(tag)
    if child is None or (len(child) == 0 and not (child.text or "").strip()):
        raise ValueError(f"{where}: expected <{tag}>, found none; add it, or take the image off the list")
    return child


def _number(parent: ElementTree.Element, tag: str, where: str) -> float:
    text = _child(parent, tag, where).text or ""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{where}: expected a finite number in <{tag}>, found {text[:80]!r}; correct it")
    return number


def _listed(folder: Path, name: str) -> list[str]:
    """Image ids. A list for one class says "id flag": 1 has it, 0 only difficult ones, -1 has none."""
    path = folder / "ImageSets" / "Main" / f"{name}.txt"
    if not path.is_file():
        there = ", ".join(sorted((other.stem for other in path.parent.glob("*.txt")), key=len)[:NUM_LISTED])
        raise ValueError(
            f"{path}: expected an image set, found only: {there or 'nothing'}; name a split 2007:trainval under the"
            " folder of VOC2007, or trainval under the folder of ImageSets"
        )
    ids = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        image_id, *flags = line.split() or [""]
        if flags not in ([], ["-1"], ["0"], ["1"]) or "/" in image_id:
            raise ValueError(f"{path}:{number}: expected ID or ID -1|0|1, found {line[:80]!r}; correct it")
        if image_id and flags != ["-1"]:
            ids.append(image_id)
    if not ids:
        raise ValueError(f"{path}: expected at least one image, found none; leave this split out")
    return ids


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, found: {error}; convert the file") from None


def _existing(folder: Path, image_id: str, suffixes: Sequence[str], where: str) -> Path:
    for suffix in suffixes:
        if (path := folder / f"{image_id}{suffix}").is_file():
            return path
    wanted = f"{image_id} with {' or '.join(suffixes)}"
    raise ValueError(f"{folder}: expected {wanted}, found no such file; unpack it, or take {where} off its list")
