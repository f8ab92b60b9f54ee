"""One XML file of Pascal VOC -> sizes, names and corners.

Corners in the files are 1-based and inclusive: a box across a row of 500 px runs from 1 to 500. They become
continuous 0-based edges here and nowhere else: x1 = xmin - 1, x2 = xmax.
Differs: darknet's voc_label.py has the centre at (min + max) / 2 - 1 and the size max - min: half a pixel up and left
of this centre, one pixel smaller.
"""

import math
import re
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from data.shards.format.sidecar import MAX_SIDE_PX
from data.sources.rules.files import nfc, require_file, text_of
from data.wording import is_class_name

DECLARED = re.compile(rb"""\s*<\?xml[^>]*?encoding\s*=\s*["']([A-Za-z][\w.-]*)""")


class Box(NamedTuple):
    """One <object>."""

    name: str
    xyxy_px: tuple[float, float, float, float]  # continuous edges, not clipped
    difficult: bool
    flat: bool  # its corners are swapped or equal


class Annotation(NamedTuple):
    """One annotation file."""

    width: int
    height: int
    boxes: list[Box]
    filename: str  # of the image, according to the file
    astray: int  # number of <bndbox> that no <object> or <part> has as its first
    from_zero: bool  # a corner is at 0, which does not occur in VOC


def read_xml(path: Path) -> str:
    """Text in UTF-8, or in the encoding that its first line declares. ValueError if it could be either."""
    data = require_file(path).read_bytes()
    declared = DECLARED.match(data[:200])
    if declared is None or data.isascii() or data.startswith(b"\xef\xbb\xbf"):
        return text_of(data, path)
    name = declared[1].decode()
    try:
        text = data.decode(name)
        if not text.lstrip().startswith("<?xml"):  # UTF-16 would be no such bytes
            return text_of(data, path)
    except (UnicodeError, LookupError):
        return text_of(data, path)
    try:
        if data.decode() == text:
            return text
    except UnicodeDecodeError:
        return text
    raise ValueError(
        f"{path}: expected text in {name}, as its first line says, found bytes that may also be UTF-8; convert the "
        "file to UTF-8 and correct its first line"
    )


def parse_annotation(text: str, path: Path, *, from_zero: bool = False) -> Annotation:
    """Parses one file. Objects are direct children of the root: a <part> has a <bndbox> too. path: for messages only.

    from_zero: corners are already edges, as written by tools that count from 0.
    """
    root = _parse(text, path)
    kind = "the annotation" if root.tag == "annotation" else f"<{root.tag[:80]}>, not <annotation>"
    size = _child(root, "size", f"{path}: {kind}")
    sides = [_number(size, tag, f"{path}: <size>") for tag in ("width", "height")]
    if not all(1 <= side <= MAX_SIDE_PX and side.is_integer() for side in sides):
        raise ValueError(f"{path}: expected the image's size in px, found {sides[0]:g}x{sides[1]:g}; correct it")
    elements = root.findall("object")
    boxes, lowest = [], math.inf
    for number, element in enumerate(elements, start=1):
        name = nfc((_child(element, "name", f"{path}: object {number}").text or "").strip())
        if not is_class_name(name):
            raise ValueError(f"{path}: object {number}: expected a class in <name>, found {name[:80]!r}; correct it")
        where = f"{path}: object {number} ({name[:80]})"
        corners = _child(element, "bndbox", where)
        xmin, ymin, xmax, ymax = (_number(corners, tag, where) for tag in ("xmin", "ymin", "xmax", "ymax"))
        first = 0 if from_zero else 1
        edges = (xmin - first, ymin - first, xmax, ymax)
        difficult = element.find("difficult") is not None and _number(element, "difficult", where) != 0
        boxes.append(Box(name, edges, difficult, flat=xmax <= xmin or ymax <= ymin))
        lowest = min(lowest, *(corner for corner in (xmin, ymin) if corner >= 0), math.inf)
    astray = 0
    if text.lower().count("<bndbox") > len(elements):  # each object has one
        parts = sum(1 for element in elements for part in element.findall("part") for _ in part.iter("bndbox"))
        astray = sum(each.tag.lower() == "bndbox" for each in root.iter()) - len(elements) - parts
    filename = (root.findtext("filename") or "").strip()
    return Annotation(int(sides[0]), int(sides[1]), boxes, filename, astray, from_zero=lowest < 1 and not from_zero)


def _parse(text: str, path: Path) -> ElementTree.Element:
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities can expand to gigabytes
        raise ValueError(f"{path}: expected plain XML, found a <!DOCTYPE or <!ENTITY declaration; remove it")
    if "\0" in text:  # the parser takes such text for UTF-16, and would find a declaration in it
        raise ValueError(f"{path}: expected UTF-8 text, found zero bytes, as in UTF-16; convert the file")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"{path}: expected XML, found: {error}; fetch or write the file again") from None
    for element in root.iter() if root.tag.startswith("{") else ():  # a namespace
        element.tag = element.tag.rpartition("}")[2]
    return root


def _child(parent: ElementTree.Element, tag: str, where: str) -> ElementTree.Element:
    child = parent.find(tag)
    if child is None or (len(child) == 0 and not (child.text or "").strip()):
        found = "none; add it" if child is None else "an empty one; fill it in"
        raise ValueError(f"{where}: expected <{tag}>, found {found}, or remove the image from the list")
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
