"""Inputs of train.detect: files, folders and globs -> paths in natural order; a picture -> upright pixels."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.files import natural_key
from data.images.files.decode import MAX_IMAGE_BYTES, decode
from data.images.files.facts import facts
from data.images.files.prepare import turn

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
#: files of train.detect: one for all pictures, or one for each
WHOLE_RESULTS = {"json": "detections.json", "csv": "detections.csv", "coco": "detections-coco.json"}
EACH_RESULT = {"voc": "voc/{}.xml", "yolo": "labels/{}.txt"}
MAX_LABEL_BYTES = 1 << 24


def list_inputs(inputs: Sequence[str], out: Path) -> list[Path]:
    """Given files; those in folders, at any depth, and globs, in the order of the numbers in their names.

    Each once, and none from the folder `out`. ValueError if `out` holds a given file: it would be overwritten.
    """
    paths: list[Path] = []
    own = out.resolve()
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            found = [each for each in path.rglob("*") if is_picture(each) or is_video(each)]
        else:
            found = [path] if path.exists() else list(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        others = [each for each in found if not each.resolve().is_relative_to(own)]
        if (found and not others) or (path.is_dir() and path.resolve() == own):
            raise ValueError(
                f"--out {out}: expected another folder than that of {name}, whose pictures would be overwritten"
            )
        if not others:
            raise ValueError(
                f"{name}: expected a picture, a video, a folder with some ({', '.join(PICTURES + VIDEOS)}) or a glob"
            )
        paths += sorted(others, key=natural_key)
    return list(dict.fromkeys(paths))


def require_own_folder(out: Path, paths: Sequence[Path], formats: Sequence[str]) -> None:
    """ValueError if results of `paths` would overwrite a file in `out` that is not an earlier result."""
    others = [WHOLE_RESULTS[name] for name in formats if name in WHOLE_RESULTS] + ["classes.txt"] * ("yolo" in formats)
    labels = []
    for name, path in zip(unique_names(paths), paths, strict=True):
        others.append(f"{name}{drawn_suffix(path)}")
        first = f"{name}-000000" if is_video(path) else name
        labels += [file.format(first) for kind, file in EACH_RESULT.items() if kind in formats]
    found = [(name, _scored(out / name)) for name in labels if (out / name).is_file()]
    taken = [name for name, scored in found if scored is False]
    earlier = any((out / name).is_file() for name in WHOLE_RESULTS.values()) or any(scored for _, scored in found)
    if not earlier:
        taken += [name for name in others if (out / name).is_file()]
    if taken:
        raise ValueError(
            f"--out {out}: expected a new folder or one of earlier results; {taken[0]} there would be overwritten"
        )


def _scored(path: Path) -> bool | None:
    """Whether a file of labels has scores, which only detections have; None if there is no object in it."""
    if path.stat().st_size > MAX_LABEL_BYTES:
        return False
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".xml":
        return "<score>" in text if "<object>" in text else None
    lines = [line.split() for line in text.splitlines() if line.strip()]
    return all(len(line) == 6 for line in lines) if lines else None


def drawn_suffix(path: Path) -> str:
    return ".mp4" if is_video(path) else ".jpg"


def is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURES


def is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEOS


def unique_names(paths: Sequence[Path]) -> list[str]:
    """The stem of each, with a number if another already has it, ignoring case.

    A video's frames are NAME-000000 and on: it gets another name if a file is called so.
    """
    taken: set[str] = set()
    names = []
    numbered = {re.sub(r"-\d{6,}$", "", path.stem).casefold() for path in paths if re.search(r"-\d{6,}$", path.stem)}
    for path in paths:
        name, number = path.stem, 1
        while name.casefold() in taken or (is_video(path) and name.casefold() in numbered):
            number += 1
            name = f"{path.stem}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def require_plain(path: Path) -> None:
    """ValueError for a pipe, a device or a socket: reading it may never end."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError(f"{path} does not decode: expected a file, found a pipe or a device; copy its content to one")


def read_upright(path: Path) -> NDArray[np.uint8]:
    """[H, W, 3] RGB as viewers show it. ValueError if it does not decode."""
    require_plain(path)
    try:
        if path.stat().st_size > MAX_IMAGE_BYTES:
            raise ValueError(f"expected at most {MAX_IMAGE_BYTES:,} bytes, found {path.stat().st_size:,}")
        data = path.read_bytes()
        image = decode(data)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} does not decode: {error}") from None
    return np.ascontiguousarray(turn(image, facts(data).orientation))
