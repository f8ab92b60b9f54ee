"""Finds a YOLO set's classes, images and labels: data.yaml, darknet's .data and .names, or folders."""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from data.sources.rules.files import IMAGE_SUFFIXES, by_name, nfc, read_lines, read_text

MAX_YAML = 2**20  # characters
LISTS = ("classes.txt", "obj.names", "labels.txt")  # of classes, in a folder without data.yaml
OTHER_NAMES = {"val": ("val", "valid", "validation"), "valid": ("valid", "val"), "test": ("test",), "train": ("train",)}


class Layout(NamedTuple):
    """The parts of a set that are known before its labels are read."""

    file: Path  # the source, for messages
    names: dict[int, str] | None  # of classes, by their number in labels
    splits: dict[str, list[str]]  # name -> folders or lists of images, as written
    bases: list[Path]  # what those may be relative to
    box_only: bool  # labels continue after the box, as for poses


def find_layout(root: Path) -> Layout:
    """root: data.yaml, a .data file, or a folder with either, or with lists of classes and of images."""
    if root.is_file():
        return _of_data(root) if root.suffix == ".data" else _of_yaml(root)
    if not root.is_dir():
        raise ValueError(f"{root}: expected a folder or a file data.yaml, found none")
    files = [*sorted(root.glob("*.yaml")), *sorted(root.glob("*.yml"))]
    files = [root / "data.yaml"] if root / "data.yaml" in files else files or sorted(root.glob("*.data"))
    if len(files) > 1:
        there = ", ".join(path.name for path in files)
        raise ValueError(f"{root}: expected one data.yaml, found {there}; name one instead of the folder")
    if files:
        return find_layout(files[0])
    listing = next((root / name for name in LISTS if (root / name).is_file()), None)
    names = None if listing is None else _listed_names(listing)
    return Layout(listing or root, names, {}, [root], False)


def _of_yaml(path: Path) -> Layout:
    """Every scalar stays text: `no` and `007` are names, and no tag runs anything."""
    text = read_text(path)
    try:
        if len(text) > MAX_YAML:
            raise ValueError(f"{len(text):,} characters")
        given = yaml.load(text, Loader=yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected YAML with names, train and val, found: {error!s:.200}") from None
    if not isinstance(given, dict):
        raise ValueError(f"{path}: expected names, train and val, found {type(given).__name__}; write them")
    names = _names(path, given.get("names"))
    if (count := given.get("nc")) is not None and names is not None and count != str(len(names)):
        raise ValueError(f"{path}: expected nc={len(names)}, the number of names; found {count!s:.80}; correct it")
    splits = {}
    for split, value in given.items():
        values = [value] if isinstance(value, str) else value
        if split in ("train", "val", "valid", "validation", "test") and values:
            if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
                raise ValueError(f"{path}: expected folders or lists of images in {split}, found {value!s:.80}")
            splits[str(split)] = values
    base = given.get("path")
    bases = [path.parent / base, path.parent] if isinstance(base, str) and base else [path.parent]
    return Layout(path, names, splits, bases, "kpt_shape" in given)


def _names(path: Path, given: Any) -> dict[int, str] | None:
    """Class names, from a list or a map of numbers to names."""
    if given is None:
        return None
    pairs = list(given.items()) if isinstance(given, dict) else []
    if isinstance(given, list):
        pairs = [(str(number), name) for number, name in enumerate(given)]
    right = [isinstance(name, str) and name.strip() and re.fullmatch(r"[0-9]{1,9}", str(key)) for key, name in pairs]
    if not pairs or not all(right) or len({int(key) for key, _ in pairs}) < len(pairs):
        raise ValueError(
            f"{path}: expected names as a list, or as a map from numbers to names, found {given!s:.80}; correct it"
        )
    return {int(key): nfc(name) for key, name in sorted(pairs, key=lambda pair: int(pair[0]))}


def _listed_names(path: Path) -> dict[int, str]:
    return {number: nfc(line) for number, (_, line) in enumerate(read_lines(path))}


def _of_data(path: Path) -> Layout:
    """darknet's `train = LIST`, `valid = LIST`, `names = FILE`. Paths are relative to where darknet was started."""
    given = {}
    for number, line in read_lines(path):
        key, equals, value = line.partition("=")
        if line[0] in "#;":
            continue
        if not equals:
            raise ValueError(f"{path}:{number}: expected key = value, found {line[:80]!r}; correct it")
        given[key.strip()] = value.strip()
    bases = [path.parent, path.parent.parent]
    names = None
    if "names" in given:
        names = _listed_names(_existing(path, given["names"], bases, "names"))
    return Layout(path, names, {key: [given[key]] for key in ("train", "valid", "test") if key in given}, bases, False)


# ------------------------------------------------------------------------------------------------------------- images


def images_of(layout: Layout, split: str) -> list[tuple[str, Path]]:
    """Name (path below the folder of images without the ending) and file of each image of a split."""
    names = OTHER_NAMES.get(split, (split,))
    given = next((layout.splits[name] for name in names if name in layout.splits), None)
    if given is None:
        given = next(([str(path.absolute())] for path in _folders(layout.bases[0], names)), None)
    if given is None:
        there = ", ".join(layout.splits) or "no lists"
        raise ValueError(
            f"{layout.file}: expected a split {split}, found {there}, and no folder {split} or images/{split}; correct "
            "--split: a name of data.yaml, a folder, LIST.txt, or all"
        )
    found: dict[Path, tuple[str, Path]] = {}  # an image may be listed under several paths
    for one in given:
        place = _existing(layout.file, one, layout.bases, split)
        for name, path in _in_folder(place) if place.is_dir() else _in_list(place, layout):
            found.setdefault(path.parent.resolve() / path.name, (name, path))
    if not found:
        raise ValueError(f"{layout.file}: expected images in {', '.join(given)}, found none; correct {split}")
    return list(found.values())


def _folders(base: Path, names: Sequence[str]) -> Iterator[Path]:
    for name in names:
        if name == "all":
            yield from (folder for folder in (base / "images", base) if folder.is_dir())
        yield from (there for there in (base / "images" / name, base / name / "images", base / name) if there.exists())


def _existing(file: Path, name: str, bases: Sequence[Path], what: str) -> Path:
    """Roboflow writes ../train/images for train/images."""
    name = name.replace("\\", "/")
    shorter = re.sub(r"^(\.\./)+", "", name)
    for candidate in [base / one for one in (name, shorter) for base in bases]:
        if candidate.exists():
            return candidate
    raise ValueError(f"{file}: expected {what} at {bases[0] / name}, found nothing; correct {what}")


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
        path = next((base / line for base in bases if (base / line).is_file()), bases[0] / line)
        below = re.split(r"(?:^|/)images/", line)[-1] if "images/" in line else os.path.relpath(path, file.parent)
        yield below.removeprefix("../").removesuffix(path.suffix), path


def label_file(image: Path) -> Path | None:
    """The label file: in labels/ if the image is in images/, in darknet's labels/ beside JPEGImages/, or beside it."""
    parts = list(image.parts)
    candidates = []
    for number in range(len(parts) - 2, -1, -1):
        if parts[number] in ("images", "JPEGImages"):
            candidates.append(Path(*parts[:number], "labels", *parts[number + 1 :]).with_suffix(".txt"))
    candidates.append(image.with_suffix(".txt"))
    return next((path for path in candidates if path.is_file()), None)
