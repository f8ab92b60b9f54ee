"""Pascal VOC XML and images, in the folders of a VOCdevkit or any others -> `Annotations`: what the sharder reads."""

import argparse
import math
from collections.abc import Iterator, Sequence
from glob import escape
from pathlib import Path

import numpy as np

from data.records import Annotations, Findings
from data.sources.parsing.voc_splits import Split, find_split
from data.sources.parsing.voc_xml import Annotation, parse_annotation, read_xml
from data.sources.rules.choose import Choice
from data.sources.rules.collect import Found, Picture, collect
from data.sources.rules.files import IMAGE_SUFFIXES, nfc, without_suffix
from data.sources.rules.objects import Objects

USAGE = (
    "2007:trainval,2012:trainval; without a year ROOT is the year's folder. Without ImageSets: all, a fraction such as "
    "0.8 and the rest of it 0.8-1, LIST.txt, a folder below ROOT, or train and val with --hold-out"
)


TITLE = "Pascal VOC XML and images"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "root", type=Path, help="VOCdevkit, or one folder with XML and images or with folders for these"
    )
    parser.add_argument("--split", required=True, help=USAGE)
    parser.add_argument("--annotations", help="folder of the XML below ROOT, if it has an unusual name")
    parser.add_argument("--images", help="folder of the images below ROOT, if it has an unusual name")
    parser.add_argument("--from-zero", action="store_true", help="corners count from 0, as many tools write them")


def read(options: argparse.Namespace, choice: Choice) -> Annotations:
    return read_voc(
        options.root,
        options.split.split(","),
        choice,
        from_zero=options.from_zero,
        annotations=options.annotations,
        images=options.images,
    )


def read_voc(
    root: Path,
    splits: Sequence[str],
    choice: Choice | None = None,
    *,
    from_zero: bool = False,
    annotations: str | None = None,
    images: str | None = None,
) -> Annotations:
    """A split is "2007:trainval", an image set of root/VOC2007, or one of root itself; see USAGE for those without.

    Classes are the sorted names found in these splits (VOC's own order), or those of the choice; read a second set with
    the classes of the first.
    """
    findings, choice = Findings(), choice or Choice()
    reading, objects = _Reading(root, from_zero), Objects.of_rows(())
    for name in splits:
        split, choice = find_split(root, name, choice, annotations=annotations, images=images)
        objects.extend(Objects.of_rows(reading.rows(split, name)))
        _inspect_split(findings, split)
    _inspect_files(findings, reading.pictures, reading.parsed)
    classes = _classes(reading)
    label_of = {name: label for label, name in enumerate(classes)}
    objects.label = np.array([label_of[name] for name in reading.names] or [0], np.int32)[objects.label]
    return collect(
        Found(
            source=" ".join(["voc", *(f"VOC{name}" if ":" in name else name for name in splits)]),
            root=root,
            classes=classes,
            category_ids=range(1, len(classes) + 1),
            all_classes=False,
            pictures=reading.pictures,
            objects=objects,
            noun="object",
            findings=findings,
        ),
        choice,
    )


class _Reading:
    """State of reading all splits, except the objects."""

    def __init__(self, root: Path, from_zero: bool) -> None:
        self._root, self._from_zero = root, from_zero
        self._origin: dict[str, str] = {}  # image id -> where it was listed
        self.pictures: list[Picture] = []
        self.parsed: list[Annotation] = []  # without their boxes
        self.names: dict[str, int] = {}  # class -> its number in `label`

    def rows(self, split: Split, name: str) -> Iterator[tuple[object, ...]]:
        """Rows of objects, in the order of `ROW`."""
        for image_id in split.ids:
            where = f"{image_id} of {name}"
            if image_id in self._origin:
                raise ValueError(
                    f"{self._root}: expected each image once, found {self._origin[image_id]} and {where}; leave out "
                    "one of the splits, or remove one image from its list"
                )
            self._origin[image_id] = where
            picture, found = _read(split, image_id, where, self._from_zero)
            for number, (name_of_class, xyxy_px, difficult, flat) in enumerate(found.boxes, start=1):
                label = self.names.setdefault(name_of_class, len(self.names))
                yield len(self.pictures), xyxy_px, math.nan, label, difficult, False, flat, number
            self.pictures.append(picture)
            self.parsed.append(found._replace(boxes=[]))


def _read(split: Split, image_id: str, where: str, from_zero: bool) -> tuple[Picture, Annotation]:
    source = "its XML" if split.where else f"{where} from its list"
    xml = Path(_first(split.xmls, image_id, (".xml",), split.xml_folder, "--annotations", source))
    found = parse_annotation(read_xml(xml), xml, from_zero=from_zero)
    image = _first(split.images, image_id, IMAGE_SUFFIXES, split.image_folder, "--images", source)
    return Picture(image_id, image_id, image, found.width, found.height, xml), found


def _classes(reading: _Reading) -> list[str]:
    rows = zip(reading.pictures, reading.parsed, strict=True)
    if not reading.names and (astray := [str(picture.file) for picture, found in rows if found.astray]):
        raise ValueError(
            f"{astray[0]}: expected <object> directly below the root, found <bndbox> deeper in the file, and no object "
            "in the whole set; convert the files to VOC's layout"
        )
    return sorted(reading.names)


def _inspect_split(findings: Findings, split: Split) -> None:
    several = [paths for name, paths in split.images.items() if len(paths) > 1 and name in split.xmls]
    shown = [f"{Path(paths[0]).name} and {Path(paths[1]).name}" for paths in several]
    findings.add("images with the name of another one (the first is used)", shown)
    twice = [paths for paths in split.xmls.values() if len(paths) > 1]
    shown = [f"{Path(paths[0]).name} and {Path(paths[1]).name}" for paths in twice]
    findings.add("XML files with the name of another one (the first is used)", shown)
    if split.where:
        without = [paths[0] for name, paths in split.images.items() if name not in split.xmls]
        findings.add("images without XML (left out)", without)


def _inspect_files(findings: Findings, pictures: Sequence[Picture], parsed: Sequence[Annotation]) -> None:
    rows, names = list(zip(pictures, parsed, strict=True)), [_name(picture.name) for picture in pictures]
    others, known = [_name(without_suffix(found.filename)) for found in parsed], set(names)
    wrong = [n for n, (name, other) in enumerate(zip(names, others, strict=True)) if name != other and other in known]
    findings.add(
        "XML files whose <filename> is another image of the set (the file's own name counts)",
        [f"{pictures[n].file.name} ({others[n]})" for n in wrong],
    )
    findings.add(
        "XML files with a <bndbox> outside <object>, or a second one in it (not read)",
        [picture.file.name for picture, found in rows if found.astray],
    )
    findings.add(
        "XML files with a corner at 0, though VOC counts from 1 (--from-zero, if the tool counted from 0)",
        [picture.file.name for picture, found in rows if found.from_zero],
    )


def _name(path: str) -> str:
    """The last part of a path, in NFC, whichever way its slashes lean."""
    return nfc(path.replace("\\", "/").rpartition("/")[2])


def _first(
    files: dict[str, list[str]], image_id: str, suffixes: Sequence[str], folder: Path, option: str, source: str
) -> str:
    """The file of an image. option: names the folder; source: what else to remove."""
    if paths := files.get(nfc(image_id)):
        return paths[0]
    others = [path.name for path in folder.glob(f"{escape(image_id)}.*") if path.suffix.lower() != ".xml"]
    found = f"{others[0]}; convert it" if others else f"no such file; unpack it, name its folder with {option}"
    raise ValueError(f"{folder}: expected {image_id} with {' or '.join(suffixes)}, found {found}, or remove {source}")
