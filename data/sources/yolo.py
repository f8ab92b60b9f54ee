"""YOLO's text files, as many programs write them -> `Annotations`: what the sharder reads.

A line is a class, counted from 0, and its box (centre x, centre y, width, height) or polygon (x1 y1 x2 y2 ...), in
fractions of the image as viewers show it, turned by its EXIF. A polygon becomes its bounding box.
"""

import argparse
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from data.images.files.facts import stored_size
from data.records import Annotations, Findings
from data.sources.parsing.yolo_images import images_of, label_file, label_files
from data.sources.parsing.yolo_layout import Layout, find_layout
from data.sources.rules.choose import Choice
from data.sources.rules.collect import Found, Picture, collect
from data.sources.rules.files import nfc, read_text
from data.sources.rules.objects import Objects
from data.wording import counted

ROUNDING = 0.01  # fractions up to this far outside 0..1 count as rounding and are clipped
CORNERS = 8  # numbers of a turned box
NUMBER = re.compile(rb"[-+.e\d]+")
Row = tuple[float, float, float, float]


TITLE = "YOLO text files and images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("root", type=Path, help="data.yaml, darknet's .data, or a folder with either")
    parser.add_argument("--split", required=True, help="train, val ... of data.yaml; a folder or a list; all")


def read(options: argparse.Namespace, choice: Choice) -> Annotations:
    return read_yolo(options.root, options.split.split(","), choice, turned=options.exif == "turn")


def read_yolo(root: Path, splits: Sequence[str], choice: Choice | None = None, *, turned: bool = True) -> Annotations:
    """A split is a name of data.yaml or of darknet's .data, a folder or a list of images below root.

    An image without label file, or with an empty one, has no objects. turned: EXIF orientation is applied before
    fractions become px.
    """
    choice, layout = choice or Choice(), find_layout(root)
    names = _names(layout, choice)
    reading = _Reading(layout, {number: row for row, number in enumerate(names)}, turned)
    objects = Objects.of_rows(reading.rows(splits))
    _refuse_without_labels(layout, reading)
    return collect(
        Found(
            source=" ".join(["yolo", *splits]),
            root=layout.file,
            classes=list(names.values()),
            category_ids=range(1, len(names) + 1) if list(names) == list(range(len(names))) else list(names),
            all_classes=True,
            pictures=reading.pictures,
            objects=objects,
            noun="line",
            findings=_findings(layout, splits, reading),
        ),
        choice,
    )


class _Reading:
    """State of reading all splits, except the objects."""

    def __init__(self, layout: Layout, row_of: dict[int, int], turned: bool) -> None:
        self._layout, self._row_of, self._turned = layout, row_of, turned
        self._ids = set[str]()
        self.pictures: list[Picture] = []
        self.without: list[Path] = []  # images without a label file
        self.used: set[Path] = set()  # label files
        self.lengths: Counter[int] = Counter()  # how many numbers a line has after its class -> lines

    def rows(self, splits: Sequence[str]) -> Iterator[tuple[object, ...]]:
        """Rows of objects, in the order of `ROW`."""
        for name, path in (image for split in splits for image in images_of(self._layout, split)):
            labels = label_file(path)
            width, height = _size(path, self._turned)
            if labels is None:
                self.without.append(path)
            else:
                self.used.add(labels)
                scale = np.array([width, height, width, height])
                for number, label, box, length in read_labels(labels, self._row_of, box_only=self._layout.box_only):
                    yield len(self.pictures), np.array(box) * scale, math.nan, label, False, False, False, number
                    self.lengths[length] += 1
            key, image_id = nfc(name), nfc(name)
            if image_id in self._ids:
                image_id = nfc(os.path.relpath(path, self._layout.file.parent))
            self._ids.add(image_id)
            self.pictures.append(Picture(key, image_id, str(path), width, height, labels or path))


def _refuse_without_labels(layout: Layout, reading: _Reading) -> None:
    first = reading.pictures[0].path
    if len(reading.without) == len(reading.pictures) and Path(first).is_file():
        raise ValueError(
            f"{layout.file}: expected labels beside {first}, or in labels/ if that is in images/; found none for "
            f"{counted(len(reading.pictures), 'image')}; put them there"
        )


def _findings(layout: Layout, splits: Sequence[str], reading: _Reading) -> Findings:
    findings = Findings()
    findings.add("images without a label file (background)", reading.without)
    others = {path for split in splits for path in label_files(layout, split)} - reading.used
    findings.add("label files without an image (left out)", sorted(path for path in others if _holds_labels(path)))
    for length, lines in reading.lengths.items():
        if 1 < lines == reading.lengths.total() and length not in (4, CORNERS):
            what = f"lines of {length} numbers after the class, all of the set, read as polygons (poses? kpt_shape)"
            findings.add(what, [layout.file.name], lines)
    return findings


def _holds_labels(path: Path) -> bool:
    """Whether a text file looks like labels, from its first line: there are lists and notes beside them too."""
    with path.open("rb") as file:
        words = file.readline(1000).split()
    return len(words) > 4 and all(NUMBER.fullmatch(word) for word in words)


def _names(layout: Layout, choice: Choice) -> dict[int, str]:
    names = layout.names if layout.names is not None else dict(enumerate(choice.classes or []))
    if not names:
        raise ValueError(
            f"{layout.file}: expected the names of the classes in data.yaml, .names or classes.txt, found none; "
            "add one, or name them in order with --classes"
        )
    if len(set(names.values())) < len(names):
        twice = sorted(names.values(), key=list(names.values()).count)[-1]
        raise ValueError(f"{layout.file}: expected each class once, found {twice[:80]!r} again; rename one")
    return names


def _size(path: Path, turned: bool) -> tuple[int, int]:
    """Width and height in px; arbitrary for an unreadable file, which decoding reports."""
    try:
        width, height, orientation = stored_size(path)
    except ValueError:
        return 1, 1
    return (height, width) if turned and orientation >= 5 else (width, height)


def read_labels(path: Path, row_of: dict[int, int], *, box_only: bool) -> Iterator[tuple[int, int, Row, int]]:
    """Line, class, box (left, top, right, bottom in fractions of the image) and how many numbers say it, by object.

    row_of: {number in a label: class}.
    """
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        try:
            label, *rest = (float(word) for word in words)
        except ValueError:
            label, rest = math.nan, []
        if not math.isfinite(label) or not all(map(math.isfinite, rest)):
            raise ValueError(f"{path}:{number}: expected numbers, found {line[:80]!r}; correct it")
        if not label.is_integer() or int(label) not in row_of:
            raise ValueError(
                f"{path}:{number}: expected a class from {min(row_of)} to {max(row_of)}, of the {len(row_of)} names, "
                f"found {words[0]}; correct the line or the names"
            )
        if box_only:
            rest = rest[:4]
        if len(rest) != 4 and (len(rest) < 6 or len(rest) % 2):
            raise ValueError(
                f"{path}:{number}: expected class, x, y, width, height, or a polygon of at least three points; found "
                f"{counted(len(words), 'number')}; correct it"
            )
        if not -ROUNDING <= min(rest) <= max(rest) <= 1 + ROUNDING:
            raise ValueError(
                f"{path}:{number}: expected fractions of the image, found {line[:80]!r}; divide px by the image's "
                f"width and height{', or, for poses, set kpt_shape in data.yaml' if len(rest) > 4 else ''}"
            )
        yield number, row_of[int(label)], _box(rest), len(rest)


def _box(numbers: Sequence[float]) -> Row:
    if len(numbers) == 4:
        x, y, width, height = numbers
        return x - width / 2, y - height / 2, x + width / 2, y + height / 2
    return min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])
