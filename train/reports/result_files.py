"""Writes and reads detections in the formats of evaluation servers.

VOC: comp4_det_test_CLASS.txt with a line for each detection: image id, score, xmin ymin xmax ymax, corners counted from
1, the last pixel inclusive. COCO: a JSON list of image_id, category_id, bbox (x y width height) and score. Numbers are
written in full: scores are read back to the last bit, boxes up to the rounding of adding and subtracting.
"""

import re
from collections.abc import Sequence
from itertools import starmap
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from data.files import write_whole
from data.shards.index import ShardIndex
from data.wording import counted, in_words
from train.evaluation.scores.tables import Detections, xywh_from_xyxy

VOC_NAME = "comp4_det_test_{}.txt"
UNSAFE = re.compile(r"[%/\\\x00-\x1f\x7f]")  # in a file name; written as %2F and so on
FROM_ONE = np.array([1, 1, 0, 0])  # the first pixel, 0..1, is 1..1


class _Result(msgspec.Struct, gc=False):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float


def write_voc(folder: Path, found: Detections, index: ShardIndex) -> None:
    """Writes a file for each class, empty if nothing was found. `found.images` are samples of the index."""
    _check_samples(found, index)
    folder.mkdir(parents=True, exist_ok=True)
    for label, name in enumerate(index.classes):
        mine = np.flatnonzero(found.labels == label)
        corners = (found.boxes_xyxy_px[mine] * _scale(found.images[mine], index) + FROM_ONE).tolist()
        rows = zip(found.images[mine].tolist(), found.scores[mine].tolist(), corners, strict=True)
        lines = [f"{index.image_id(sample)} {score} {' '.join(map(str, box))}\n" for sample, score, box in rows]
        write_whole(folder / voc_name(name), "".join(lines))


def voc_name(class_name: str) -> str:
    """The server's file name for a class of letters and digits; other characters, such as slashes, are escaped."""
    return VOC_NAME.format(UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", class_name))


def read_voc(folder: Path, index: ShardIndex) -> Detections:
    """The files of all classes, as samples and labels of the index."""
    there = {path.name for path in folder.glob(VOC_NAME.format("*"))}
    expected = {voc_name(name) for name in index.classes}
    if there != expected:
        odd = min(expected ^ there)
        raise ValueError(
            f"{folder}: expected {VOC_NAME.format('CLASS')} for each of {in_words(index.classes)}; "
            f"{odd} {'is missing' if odd in expected else 'is of no class'}; use shards and results of one network"
        )
    parts = []
    for label, name in enumerate(index.classes):
        path = folder / voc_name(name)
        rows = [line.rsplit(maxsplit=5) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        try:
            numbers = np.array([row[1:] for row in rows], np.float64).reshape(len(rows), 5)
        except ValueError as error:
            raise ValueError(
                f"{path}: expected lines of image id, score and four corners ({error}); write it again"
            ) from None
        samples = _samples(path, [row[0] for row in rows], index)
        boxes = (numbers[:, 1:] - FROM_ONE) / _scale(samples, index)
        parts.append(_checked(path, samples, np.full_like(samples, label), numbers[:, 0], boxes))
    return Detections.concatenate(parts)


def write_coco(path: Path, found: Detections, index: ShardIndex) -> None:
    """Writes COCO's JSON. `found.images` are samples of the index; its image ids must be numbers."""
    _check_samples(found, index)
    ids = [index.image_id(sample) for sample in range(index.num_samples)]
    if words := [name for name in ids if not name.isdecimal()]:
        raise ValueError(
            f"{index.folder}: expected numbers as image ids for a COCO file, found {words[0]!r} ({index.source}); "
            "write VOC's files"
        )
    rows = zip(
        np.array(ids, np.int64)[found.images].tolist(),
        np.array(index.category_ids, np.int64)[found.labels].tolist(),
        xywh_from_xyxy(found.boxes_xyxy_px * _scale(found.images, index)).tolist(),
        found.scores.tolist(),
        strict=True,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, msgspec.json.encode(list(starmap(_Result, rows))))


def read_coco(path: Path, index: ShardIndex) -> Detections:
    """Detections as samples and labels of the index."""
    try:
        results = msgspec.json.decode(path.read_bytes(), type=list[_Result])
    except ValueError as error:
        raise ValueError(
            f"{path}: expected a JSON list of image_id, category_id, bbox and score ({error}); write it again"
        ) from None
    samples = _samples(path, [str(result.image_id) for result in results], index)
    label_of = {category_id: label for label, category_id in enumerate(index.category_ids)}
    if unknown := {result.category_id for result in results} - label_of.keys():
        raise ValueError(
            f"{path}: expected category ids of {', '.join(map(str, index.category_ids))}, found {min(unknown)}; "
            "use shards and results of one network"
        )
    labels = np.array([label_of[result.category_id] for result in results], np.int64)
    boxes = np.array([result.bbox for result in results], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    boxes /= _scale(samples, index)
    return _checked(path, samples, labels, np.array([result.score for result in results], np.float64), boxes)


def _scale(samples: NDArray[np.int64], index: ShardIndex) -> NDArray[np.float64]:
    """[N, 4] factors from px of the images in the shards to px of the originals."""
    if "source_widths" not in index.arrays:
        return np.ones((len(samples), 4))
    sides = ("widths", "heights", "widths", "heights")
    return np.stack([index.arrays[f"source_{side}"][samples] / index.arrays[side][samples] for side in sides], axis=1)


def _check_samples(found: Detections, index: ShardIndex) -> None:
    bad = (found.images < 0) | (found.images >= index.num_samples)
    assert not bad.any(), f"detections of sample {found.images[bad.argmax()]}, there are {index.num_samples}"


def _samples(path: Path, image_ids: Sequence[str], index: ShardIndex) -> NDArray[np.int64]:
    sample_of = {index.image_id(sample): sample for sample in range(index.num_samples)}
    if unknown := set(image_ids) - sample_of.keys():
        raise ValueError(
            f"{path}: expected image ids of {index.folder} ({index.source}), found {counted(len(unknown), 'other')}, "
            f"such as {min(unknown)}; use the shards of the split that these results are for"
        )
    return np.array([sample_of[name] for name in image_ids], np.int64)


def _checked(
    path: Path,
    samples: NDArray[np.int64],
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    boxes_xyxy_px: NDArray[np.float64],
) -> Detections:
    try:
        return Detections(samples, labels, scores, boxes_xyxy_px)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
