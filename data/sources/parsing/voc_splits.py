"""Finds a split of a VOC set and its images, in the layouts that VOC has in practice."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from data.sources.rules.choose import Choice, fraction_of
from data.sources.rules.files import IMAGE_SUFFIXES, by_name, nfc, read_lines, without_suffix
from data.wording import NUM_LISTED

XML_FOLDERS = ("Annotations", "annotations", "xml", "xmls", "labels")
IMAGE_FOLDERS = ("JPEGImages", "images", "Images", "imgs", "img")
HELD_OUT = ("val", "valid", "test")


class Split(NamedTuple):
    """The place of one split, and its images."""

    where: str  # for messages
    ids: list[str]
    xmls: dict[str, list[str]]
    images: dict[str, list[str]]
    xml_folder: Path
    image_folder: Path


def find_split(
    root: Path, name: str, choice: Choice, annotations: str | None, images: str | None
) -> tuple[Split, Choice]:
    """The split, and the choice that goes with it: of `val` without ImageSets, what `--hold-out` leaves out.

    annotations, images: names of their folders, if unusual.
    """
    year = re.fullmatch(r"(\w+):([^/]+)", name)
    folder, name = (root / f"VOC{year[1]}", year[2]) if year else (root, name)
    sets = folder / "ImageSets" / "Main"
    own = folder / name
    if not sets.is_dir() and not annotations and own.is_dir() and by_name(own, (".xml",)):
        folder, name = own, "all"
    xml_folder = _folder(folder, annotations, XML_FOLDERS, (".xml",), "--annotations")
    image_folder = _folder(folder, images, IMAGE_FOLDERS, IMAGE_SUFFIXES, "--images")
    xmls, pictures = by_name(xml_folder, (".xml",)), by_name(image_folder, IMAGE_SUFFIXES)
    if annotations is None and xmls.keys().isdisjoint(pictures) and by_name(image_folder, (".xml",)):
        xml_folder, xmls = image_folder, by_name(image_folder, (".xml",))
    where = ""
    if (sets / f"{name}.txt").is_file():
        ids = _listed(sets / f"{name}.txt", xmls)
    elif name.endswith(".txt") and (listed := next((p for p in (root / name, Path(name)) if p.is_file()), None)):
        ids = _listed(listed, xmls)
    elif (part := _part(name)) and xmls and not year:
        ids = [image_id for image_id in sorted(xmls) if part[0] <= fraction_of(image_id) < part[1]]
        where = name
    elif xmls and not sets.is_dir() and (name == folder.name or (choice.hold_out and name in ("train", *HELD_OUT))):
        ids, where = sorted(xmls), name
        if name in HELD_OUT and name != folder.name:
            choice = replace(choice, hold_out=None, held_out=choice.hold_out)
    else:
        there = ", ".join(sorted((other.stem for other in sets.glob("*.txt")), key=len)[:NUM_LISTED])
        raise ValueError(
            f"{sets / f'{name}.txt'}: expected an image set, found only: {there or 'nothing'}; name a split "
            "2007:trainval under the folder of VOC2007, or trainval under the folder of ImageSets; XML without "
            f"ImageSets (here {len(xmls)}): --split all, 0.8, LIST.txt, or train with --hold-out 0.2"
        )
    return Split(where, ids, xmls, pictures, xml_folder, image_folder), choice


def _part(name: str) -> tuple[float, float] | None:
    """ "all", "0.8" or "0.8-1": the images with a hash in this range."""
    if name == "all":
        return 0, 1
    found = re.fullmatch(r"(?:(0|0?\.\d+)-)?(1|0?\.\d+)", name)
    low, high = (float(found[1] or 0), float(found[2])) if found else (0.0, 0.0)
    return (low, high) if low < high else None


def _folder(root: Path, given: str | None, usual: Sequence[str], suffixes: Sequence[str], option: str) -> Path:
    if given is not None:
        if not (root / given).is_dir():
            raise ValueError(f"{root / given}: expected a folder, found none; correct {option}")
        return root / given
    there = [root / name for name in usual if (root / name).is_dir()]
    full = (folder for folder in there if any(path.suffix.lower() in suffixes for path in folder.rglob("*")))
    own = (root for path in root.iterdir() if path.suffix.lower() in suffixes) if root.is_dir() else iter(())
    return next(full, None) or next(own, None) or (there or [root])[0]


def _listed(path: Path, known: dict[str, list[str]]) -> list[str]:
    """Image ids. A list for one class says "id flag": 1 has objects of it, 0 only difficult ones, -1 none.

    An id may contain blanks, and an entry may be the image's file name, with folders before it.
    """
    ids, listed = [], 0
    for number, line in read_lines(path):
        listed += 1
        flagged = re.fullmatch(r"(.*?)\s+(-1|0|1)", line)
        image_id = _known(line, known)
        if image_id is None and flagged:
            image_id = _known(flagged[1], known) or flagged[1]
            if flagged[2] == "-1":
                continue
        image_id = image_id or line
        odd = re.search(r"\s|^/|(^|/)\.\.(/|$)", image_id)
        if nfc(image_id) not in known and odd:
            raise ValueError(f"{path}:{number}: expected ID or ID -1|0|1, found {line[:80]!r}; correct it")
        ids.append(image_id)
    if not ids:
        raise ValueError(f"{path}: expected at least one image, found none; leave this split out")
    return ids


def _known(entry: str, known: dict[str, list[str]]) -> str | None:
    """The id that an entry of a list means: itself, or a file name without ending and folders."""
    path = entry.replace("\\", "/").removeprefix("./")
    plain = without_suffix(path)
    names = (entry, path, plain) if plain == path else (entry, path, plain, plain.rpartition("/")[2])
    return next((name for name in names if nfc(name) in known), None)
