"""Writes detections as files for other programs, as they come: memory does not grow with their number.

json  detections.json       {path: {picture, width, height, detections: [{class, score, box_xyxy_px}]}}
csv   detections.csv        a line for each detection
coco  detections-coco.json  images, categories and annotations with a score, as COCO's own files
voc   voc/NAME.xml          as VOC's annotations, corners counted from 1; and a score
yolo  labels/NAME.txt       class cx cy w h (fractions of the picture) score; classes.txt has the names
"""

import csv
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TextIO
from xml.etree import ElementTree

import numpy as np

from data.files import naming, part_name
from data.images.boxes import cxcywh_from_xyxy
from train.detection.head import ImageDetections


class Result(NamedTuple):
    """Detections of one picture, or of one frame of a video."""

    source: str  # where it came from, for display
    name: str  # unique among all results, valid as a file name
    picture: str | None  # file name of the drawn picture
    width: int
    height: int
    found: ImageDetections

    def rows(self, classes: tuple[str, ...]) -> Iterator[tuple[str, float, list[float]]]:
        """Class, score, box in px."""
        columns = self.found.labels.tolist(), self.found.scores.tolist(), self.found.boxes_xyxy.tolist()
        for label, score, box in zip(*columns, strict=True):
            yield classes[label], round(score, 4), [round(edge, 2) for edge in box]


Add = Callable[[Result], None]


@contextmanager
def _growing(path: Path) -> Iterator[TextIO]:
    """A file to write to, renamed into place at the end, also after an error: results so far are kept."""
    part = part_name(path)
    with naming(path), part.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        try:
            yield file
        finally:
            try:
                file.flush()
                part.replace(path)
            except BaseException:  # a full disk: half a file helps nobody
                part.unlink(missing_ok=True)
                raise


@contextmanager
def write_json(out: Path, classes: tuple[str, ...]) -> Iterator[Add]:
    """Writes one JSON object, with an entry for each picture or frame."""
    with _growing(out / "detections.json") as file:
        separator = "{\n"

        def add(result: Result) -> None:
            nonlocal separator
            rows = [{"class": name, "score": score, "box_xyxy_px": box} for name, score, box in result.rows(classes)]
            record = {"picture": result.picture, "width": result.width, "height": result.height, "detections": rows}
            file.write(f"{separator}{json.dumps(result.source)}: {json.dumps(record, indent=1)}")
            separator = ",\n"

        try:
            yield add
        finally:
            file.write("{}\n" if separator == "{\n" else "\n}\n")


@contextmanager
def write_csv(out: Path, classes: tuple[str, ...]) -> Iterator[Add]:
    """Writes a line for each detection."""
    with _growing(out / "detections.csv") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(["source", "width", "height", "class", "score", "left", "top", "right", "bottom"])

        def add(result: Result) -> None:
            for name, score, box in result.rows(classes):
                lines.writerow([result.source, result.width, result.height, name, score, *box])

        yield add


@contextmanager
def write_coco(out: Path, classes: tuple[str, ...]) -> Iterator[Add]:
    """Writes COCO's JSON; ids count from 1, in the order of results."""
    images = annotations = 0
    with _growing(out / "detections-coco.json") as file, tempfile.TemporaryFile("w+", encoding="utf-8") as later:
        file.write('{"images": [')

        def add(result: Result) -> None:
            nonlocal images, annotations
            size = {"width": result.width, "height": result.height}
            image = {"id": images + 1, "file_name": result.source, **size}
            file.write(",\n" * bool(images) + json.dumps(image))
            images += 1
            for label, (_, score, box) in zip(result.found.labels.tolist(), result.rows(classes), strict=True):
                width, height = round(box[2] - box[0], 2), round(box[3] - box[1], 2)
                ids = {"id": annotations + 1, "image_id": images, "category_id": label + 1}
                shape = {"bbox": [*box[:2], width, height], "area": round(width * height, 2), "iscrowd": 0}
                later.write(",\n" * bool(annotations) + json.dumps({**ids, **shape, "score": score}))
                annotations += 1

        try:
            yield add
        finally:
            categories = [{"id": label, "name": name} for label, name in enumerate(classes, 1)]
            file.write(f'],\n"categories": {json.dumps(categories)},\n"annotations": [')
            later.seek(0)
            while part := later.read(1 << 20):
                file.write(part)
            file.write("]}\n")


@contextmanager
def write_voc(out: Path, classes: tuple[str, ...]) -> Iterator[Add]:
    """Writes an XML file for each picture or frame."""
    folder = out / "voc"
    folder.mkdir(exist_ok=True)

    def add(result: Result) -> None:
        root = ElementTree.Element("annotation")
        _element(root, "filename", Path(result.source).name.encode("utf-8", "backslashreplace").decode())
        size = _element(root, "size")
        for tag, number in (("width", result.width), ("height", result.height), ("depth", 3)):
            _element(size, tag, number)
        for name, score, (left, top, right, bottom) in result.rows(classes):
            thing = _element(root, "object")
            _element(thing, "name", name)
            _element(thing, "difficult", 0)
            _element(thing, "score", score)
            box = _element(thing, "bndbox")
            corners = {"xmin": left + 1, "ymin": top + 1, "xmax": right, "ymax": bottom}
            for tag, edge in corners.items():
                _element(box, tag, round(edge, 2))
        ElementTree.indent(root)
        ElementTree.ElementTree(root).write(folder / f"{result.name}.xml", encoding="utf-8")

    yield add


def _element(parent: ElementTree.Element, tag: str, text: object = None) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, tag)
    child.text = None if text is None else str(text)
    return child


@contextmanager
def write_yolo(out: Path, classes: tuple[str, ...]) -> Iterator[Add]:
    """Writes a text file for each picture or frame."""
    folder = out / "labels"
    folder.mkdir(exist_ok=True)
    (out / "classes.txt").write_text("".join(f"{name}\n" for name in classes), encoding="utf-8")

    def add(result: Result) -> None:
        found = result.found
        shares = cxcywh_from_xyxy(np.asarray(found.boxes_xyxy, np.float64)) / ([result.width, result.height] * 2)
        rows = zip(found.labels.tolist(), shares.tolist(), found.scores.tolist(), strict=True)
        lines = [f"{label} {' '.join(f'{each:.6f}' for each in box)} {score:.4f}\n" for label, box, score in rows]
        (folder / f"{result.name}.txt").write_text("".join(lines))

    yield add


FORMATS: dict[str, Callable[[Path, tuple[str, ...]], Any]] = {
    "json": write_json,
    "csv": write_csv,
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
}
