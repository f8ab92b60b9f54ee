"""Small sets to write, read and spoil, for the tests of several modules."""

import gc
import io
import json
import tarfile
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import webdataset
from numpy.typing import NDArray

from data.records import Annotations, Record
from data.shards.format.header import parse_header, seal
from data.shards.index import ShardIndex
from data.shards.writing.write import write_shards

Objects = list[tuple[tuple[float, float, float, float], int, str]]  # box px, label, "", "difficult" or "crowd"


def jpeg(seed: int = 0, *, width: int = 40, height: int = 30) -> bytes:
    """Noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return bytes(cv2.imencode(".jpg", pixels)[1].tobytes())


def annotations(folder: Path, count: int, *, width: int = 40, height: int = 30) -> Annotations:
    """Images of noise; image i has i % 3 objects."""
    folder.mkdir(exist_ok=True)
    records = []
    for number in range(count):
        path = folder / f"image{number}.jpg"
        path.write_bytes(jpeg(number, width=width, height=height))
        objects = number % 3
        boxes = np.array([[1.5, 2, 10 + number, 20.25], [0, 0, width, height]])[:objects]
        labels = np.arange(objects, dtype=np.int16)
        areas, crowd = boxes[:, 2] * 1.5, np.zeros(objects, np.bool_)
        records.append(Record(path.stem, f"{number}", path, width, height, boxes, areas, labels, labels == 1, crowd))
    return Annotations("noise", ("cat", "dog"), (3, 7), records, {})


def note(**fields: object) -> bytes:
    """KEY.json of a 40x30 image with a cat, as little as there must be."""
    least = {"width": 40, "height": 30, "boxes_xyxy_px": [[1, 2, 10, 20]], "labels": ["cat"]}
    return json.dumps(least | fields).encode()


def write_tar(path: Path, files: Iterable[tuple[str, bytes]], kind: int = tarfile.USTAR_FORMAT) -> Path:
    """A tar as another program makes it. A name that ends with a slash is a folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.type, info.size = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE, len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def flip_byte(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x40
    path.write_bytes(data)


def change_header(folder: Path, **fields: object) -> None:
    """Another index.json, with a digest that matches."""
    path = folder / "index.json"
    path.write_bytes(seal(parse_header(path.read_bytes(), path) | fields))


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def canvas_of(side: int) -> NDArray[np.uint8]:
    return np.full((side, side, 3), 77, np.uint8)  # what was in the memory before


def photograph(height: int = 120, width: int = 160, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth noise of all hues, with black, white and grey."""
    small = generator(seed).integers(0, 256, (12, 16, 3), np.uint8)
    small[0, :3] = [[0, 0, 0], [255, 255, 255], [128, 128, 128]]
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def black_images(
    folder: Path, images: list[tuple[int, int, Objects]], *, files: dict[int, bytes] | None = None
) -> ShardIndex:
    """A set of black images (width, height, objects); areas are half of the boxes'."""
    records = []
    (folder / "images").mkdir()
    for number, (width, height, objects) in enumerate(images):
        path = folder / "images" / f"image{number}.jpg"
        data = (files or {}).get(number) or cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))[1].tobytes()
        path.write_bytes(data)
        boxes = np.array([box for box, _, _ in objects], np.float64).reshape(-1, 4)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) / 2
        labels = np.array([label for _, label, _ in objects], np.int16)
        marks = [np.array([mark == name for _, _, mark in objects], np.bool_) for name in ("difficult", "crowd")]
        records.append(Record(path.stem, path.stem, path, width, height, boxes, areas, labels, *marks))
    return write_shards(Annotations("black images", ("cat", "dog", "owl"), (1, 2, 3), records, {}), folder / "shards")


def samples_of_webdataset(tars: Sequence[Path]) -> list[dict[str, Any]]:
    """All samples as the webdataset library reads them. It leaves the tars open until they are collected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        samples = list(webdataset.WebDataset([str(tar) for tar in tars], shardshuffle=False))
        gc.collect()
    return samples
