"""Finds the images of a YOLO split, and their labels."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from data.sources.parsing.yolo_layout import STARTS, Layout, existing
from data.sources.rules.files import IMAGE_SUFFIXES, by_name, is_file, read_lines

OTHER_NAMES = {"val": ("val", "valid", "validation"), "valid": ("valid", "val"), "test": ("test",), "train": ("train",)}
LABEL_FOLDERS = {"images": "labels", "Images": "Labels", "JPEGImages": "labels"}
LABEL_SUFFIXES = (".txt", ".TXT")


def images_of(layout: Layout, split: str) -> list[tuple[str, Path]]:
    """Name (path below the folder of images without the ending) and file of each image of a split."""
    given = _given(layout, split)
    found: dict[Path, tuple[str, Path]] = {}  # an image may be listed under several paths
    for one in given:
        place = existing(layout.file, one, layout.bases, split)
        for name, path in _in_folder(place) if place.is_dir() else _in_list(place, layout):
            found.setdefault(path.parent.resolve() / path.name, (name, path))
    if not found:
        raise ValueError(f"{layout.file}: expected images in {', '.join(given):.300}, found none; correct {split}")
    return list(found.values())


def _given(layout: Layout, split: str) -> list[str]:
    """The folders or lists of a split."""
    names = OTHER_NAMES.get(split, (split,))
    given = next((layout.splits[name] for name in names if name in layout.splits), None)
    if given is None:
        folders = (path for base in layout.bases for path in _folders(base, names))
        given = next(([str(path.absolute())] for path in folders), None)
    if given is None:
        there = ", ".join(layout.splits) or "no lists"
        raise ValueError(
            f"{layout.file}: expected a split {split}, found {there}, and no folder {split} or images/{split}; correct "
            "--split: a name of data.yaml, a folder, LIST.txt, or all"
        )
    return given


def _folders(base: Path, names: Sequence[str]) -> Iterator[Path]:
    for name in names:
        if name == "all":
            yield from (folder for folder in (base / "images", base) if folder.is_dir())
        yield from (there for there in (base / "images" / name, base / name / "images", base / name) if there.exists())


def _in_folder(folder: Path) -> Iterator[tuple[str, Path]]:
    for name, paths in sorted(by_name(folder, IMAGE_SUFFIXES).items()):
        for number, path in enumerate(paths):
            yield (f"{name}{Path(path).suffix}" if number else name), Path(path)


def _in_list(file: Path, layout: Layout) -> Iterator[tuple[str, Path]]:
    """A path on each line: absolute, or relative to the list, to the set or to where darknet was started."""
    bases = [file.parent, *layout.bases, Path.cwd()]
    for number, line in read_lines(file):
        line = line.replace("\\", "/")
        if Path(line).suffix.lower() not in IMAGE_SUFFIXES:
            raise ValueError(f"{file}:{number}: expected the path of an image, found {line[:200]!r}; correct it")
        places = (base / one for one in (line, STARTS.sub("", line)) for base in bases)
        path = next((place for place in places if is_file(place)), bases[0] / line)
        below = re.split(r"(?:^|/)images/", line)[-1] if "images/" in line else os.path.relpath(path, file.parent)
        yield below.removeprefix("../").removesuffix(path.suffix), path


def label_file(image: Path) -> Path | None:
    """The label file: in labels/ if the image is in images/, in darknet's labels/ beside JPEGImages/, or beside it."""
    folders = [*_label_folders(image.parent), image.parent]
    candidates = [(folder / image.name).with_suffix(suffix) for suffix in LABEL_SUFFIXES for folder in folders]
    return next((path for path in candidates if path.is_file()), None)


def label_files(layout: Layout, split: str) -> Iterator[Path]:
    """All text files where the folders of a split may have labels. A list of images says nothing about others."""
    for place in (existing(layout.file, one, layout.bases, split) for one in _given(layout, split)):
        for folder in (*_label_folders(place), place) if place.is_dir() else ():
            yield from (Path(path) for paths in by_name(folder, (".txt",)).values() for path in paths)


def _label_folders(folder: Path) -> Iterator[Path]:
    parts = folder.parts
    for number in range(len(parts) - 1, -1, -1):
        if parts[number] in LABEL_FOLDERS:
            yield Path(*parts[:number], LABEL_FOLDERS[parts[number]], *parts[number + 1 :])
