"""Finds a YOLO set's classes and splits: data.yaml, darknet's .data and .names, or folders."""

import re
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from data.sources.rules.files import exists, nfc, read_lines, read_text

MAX_YAML = 2**20  # characters
#: of classes, in a folder without data.yaml
LISTS = ["classes.txt", "obj.names", "labels.txt", "_darknet.labels", "labels/classes.txt", "train/_darknet.labels"]
STARTS = re.compile(r"\A(\.\.?/)*(data/)?")  # of paths that exporters write for folders they do not know


class Layout(NamedTuple):
    """The parts of a set that are known before its labels are read."""

    file: Path  # the source, for messages
    names: dict[int, str] | None  # of classes, by their number in labels
    splits: dict[str, list[str]]  # name -> folders or lists of images, as written
    bases: list[Path]  # what those may be relative to
    box_only: bool  # labels continue after the box, as for poses


class _Words(yaml.BaseLoader):  # type: ignore[misc]  # it has no types
    """Every scalar stays text: `no` and `007` are names, and no tag runs anything. A repeated key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = set()
        for key, _ in node.value:
            if str(key.value) in keys:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value} again", key.start_mark)
            keys.add(str(key.value))
        found: dict[Any, Any] = super().construct_mapping(node, deep)
        return found


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
    text = read_text(path)
    try:
        if len(text) > MAX_YAML:
            raise ValueError(f"{len(text):,} characters")
        given = yaml.load(text, Loader=_Words)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected YAML with names, train and val, found: {error!s:.200}") from None
    if not isinstance(given, dict):
        raise ValueError(f"{path}: expected names, train and val, found {type(given).__name__}; write them")
    names = _names(path, given.get("names"))
    if (count := given.get("nc")) is not None and names is not None and count != str(len(names)):
        raise ValueError(f"{path}: expected nc={len(names)}, the number of names; found {_short(count)}; correct it")
    splits = {}
    for split, value in given.items():
        values = [value] if isinstance(value, str) else value
        if split in ("train", "val", "valid", "validation", "test") and values:
            if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
                raise ValueError(f"{path}: expected folders or lists of images in {split}, found {_short(value)}")
            splits[str(split)] = values
    base = given.get("path")
    base = Path(base.replace("\\", "/")) if isinstance(base, str) and base else None
    bases = [path.parent / base, base, path.parent] if base else [path.parent]
    return Layout(path, names, splits, bases, "kpt_shape" in given)


def _short(value: Any) -> str:
    """The start of a value, which may be nested deeper than any text of it fits into memory."""
    return (value if isinstance(value, str) else reprlib.repr(value))[:80]


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
            f"{path}: expected names as a list, or as a map from numbers to names, found {_short(given)}; correct it"
        )
    return {int(key): nfc(name) for key, name in sorted(pairs, key=lambda pair: int(pair[0]))}


def _listed_names(path: Path) -> dict[int, str]:
    """A name on each line. Lines count as classes, so an empty one before the last name would shift the others."""
    names = read_lines(path)
    if gap := next((place for place, (number, _) in enumerate(names, start=1) if number != place), None):
        raise ValueError(f"{path}:{gap}: expected the name of class {gap - 1}, found an empty line; name it")
    return {number - 1: nfc(line) for number, line in names}


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
        names = _listed_names(existing(path, given["names"], bases, "names"))
        if given.get("classes", str(len(names))) != str(len(names)):
            raise ValueError(
                f"{path}: expected classes={len(names)}, the number of names; found {given['classes'][:80]}; correct it"
            )
    return Layout(path, names, {key: [given[key]] for key in ("train", "valid", "test") if key in given}, bases, False)


def existing(file: Path, name: str, bases: Sequence[Path], what: str) -> Path:
    """A path as written, or without its start: Roboflow has ../train/images for train/images, CVAT data/train.txt."""
    name = name.replace("\\", "/")
    shorter = STARTS.sub("", name)
    for candidate in [base / one for one in (name, shorter) for base in bases]:
        if exists(candidate):
            return candidate
    raise ValueError(f"{file}: expected {what} at {str(bases[0] / name)[:300]}, found nothing; correct {what}")
