"""python -m train.detect RUN|CHECKPOINT.pt|CONFIG IMAGE|FOLDER|'GLOB' ... [--out FOLDER] [key=value ...]

A trained network on pictures: --out gets each with its detections drawn, and detections.json with all of them. Folders
and globs are taken in the order of the numbers in their names, as the frames of a film want it. Pictures are turned as
their EXIF says, and boxes (left, top, right, bottom edge in px) are those of the turned picture.

RUN and the others as in train.score; darknet's weights need data.classes=[...]. Other keys of the config that matter:
evaluate.side, evaluate.iou_threshold (of suppression), data.resize.
"""

import argparse
import io
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from data.images.boxes import clip
from data.images.decode import decode
from data.images.geometry import Placement, place_image, unplace_boxes, whole_image
from data.view.drawing import draw_boxes
from launch.command import run
from train.config import Config
from train.detection.head import Found, detections
from train.model import YOLOv2
from train.stepping.objective import predict
from train.trained import find_trained, load_trained

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
EXIF_ORIENTATION = 0x0112
AT_ONCE = {"cpu": 4, "cuda": 32}  # images of one forward pass

Pixels = NDArray[np.uint8]
Record = dict[str, Any]  # of one picture in detections.json


class Detector(NamedTuple):
    """A trained network and what its outputs mean."""

    model: YOLOv2
    config: Config
    anchors_cells: torch.Tensor
    classes: tuple[str, ...]

    def __call__(self, images: Sequence[Pixels], threshold: float) -> list[Found]:
        """[H, W, 3] uint8 RGB each, of any size -> detections, boxes in px of the image. Waits for the device once."""
        evaluate, resize = self.config.evaluate, self.config.data.resize
        placements = [whole_image(image.shape[1], image.shape[0], evaluate.side, resize) for image in images]
        canvases = np.empty((len(images), evaluate.side, evaluate.side, 3), np.uint8)
        for image, placement, canvas in zip(images, placements, canvases, strict=True):
            place_image(image, placement, canvas)
        with torch.inference_mode():
            raw = predict(self.model, torch.from_numpy(canvases).to(self.anchors_cells.device), torch.float32)
        found = detections(
            raw,
            self.anchors_cells,
            score_threshold=threshold,
            iou_threshold=evaluate.iou_threshold,
            max_detections=evaluate.max_detections,
        )
        return [
            _of_image(each, placement, evaluate.side, image.shape[1], image.shape[0])
            for each, placement, image in zip(found, placements, images, strict=True)
        ]


def _of_image(found: Found, placement: Placement, side: int, width: int, height: int) -> Found:
    """What lies in the image, in its pixels. Beside it is the border of a letterbox."""
    boxes_px = clip(unplace_boxes(found.boxes_xyxy, placement, side), width, height)
    inside = (boxes_px[:, 2:] > boxes_px[:, :2]).all(-1)
    return Found(boxes_px[inside], found.labels[inside], found.scores[inside])


def load_detector(target: Path, overrides: Sequence[str] = (), device: str = "cpu") -> Detector:
    config, path = find_trained(target, overrides)
    model, classes = load_trained(config, path)
    model = model.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Detector(model, config, torch.tensor(config.anchor_pairs, device=device), classes)


def list_images(inputs: Sequence[str]) -> list[Path]:
    """Files as named; what a folder holds and a glob finds by the numbers in their names. Each once."""
    paths: list[Path] = []
    for name in inputs:
        path = Path(name)
        if path.is_dir():
            found = [each for each in path.iterdir() if each.suffix.lower() in SUFFIXES]
        else:
            found = [path] if path.exists() else list(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        if not found:
            raise ValueError(f"{name}: expected a picture, a folder with some ({', '.join(SUFFIXES)}) or a glob")
        paths += sorted(found, key=_by_numbers)
    return list(dict.fromkeys(paths))


def _by_numbers(path: Path) -> list[tuple[int, str]]:
    """frame9 before frame10."""
    return [(int(part) if part.isdecimal() else -1, part) for part in re.split(r"(\d+)", str(path))]


def read_upright(path: Path) -> Pixels:
    """[H, W, 3] as viewers show it."""
    try:
        data = path.read_bytes()
        image = decode(data)
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} does not decode: {error}") from None
    try:
        with Image.open(io.BytesIO(data)) as opened:
            orientation = opened.getexif().get(EXIF_ORIENTATION, 1)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        return image  # EXIF that is broken turns nothing
    if orientation in (5, 6, 7, 8):
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    return np.ascontiguousarray(image)


def unique_names(paths: Sequence[Path]) -> list[str]:
    """The stem of each, with a number where another one has it already."""
    taken: set[str] = set()
    names = []
    for path in paths:
        name, number = path.stem, 1
        while name in taken:
            number += 1
            name = f"{path.stem}-{number}"
        taken.add(name)
        names.append(name)
    return names


def detect(
    detector: Detector, paths: Sequence[Path], out: Path, threshold: float
) -> Iterator[tuple[Path, Record | ValueError]]:
    """Draws each picture into `out` and says what is on it, or why it does not decode."""
    at_once = AT_ONCE[detector.anchors_cells.device.type]
    names = dict(zip(paths, unique_names(paths), strict=True))
    with ThreadPoolExecutor() as threads:
        for first in range(0, len(paths), at_once):
            some = paths[first : first + at_once]
            read = dict(zip(some, threads.map(_read, some), strict=True))
            images = {path: image for path, image in read.items() if not isinstance(image, ValueError)}
            found = detector(list(images.values()), threshold) if images else []
            pictures = [out / f"{names[path]}.jpg" for path in images]
            list(threads.map(partial(_draw, classes=detector.classes), images.values(), found, pictures))
            records = {
                path: _record(image, each, picture, detector.classes)
                for (path, image), each, picture in zip(images.items(), found, pictures, strict=True)
            }
            for path, image in read.items():
                yield path, image if isinstance(image, ValueError) else records[path]


def _read(path: Path) -> Pixels | ValueError:
    try:
        return read_upright(path)
    except ValueError as error:
        return error


def _draw(image: Pixels, found: Found, picture: Path, classes: tuple[str, ...]) -> None:
    drawn = draw_boxes(image, found.boxes_xyxy, found.labels, found.scores, classes)
    if not cv2.imwrite(str(picture), cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{picture} could not be written")


def _record(image: Pixels, found: Found, picture: Path, classes: tuple[str, ...]) -> Record:
    columns = (found.labels.tolist(), found.scores.tolist(), found.boxes_xyxy.tolist())
    return {
        "picture": picture.name,
        "width": image.shape[1],
        "height": image.shape[0],
        "detections": [
            {"class": classes[label], "score": round(score, 4), "box_xyxy_px": [round(edge, 2) for edge in box]}
            for label, score, box in zip(*columns, strict=True)
        ],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.detect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", type=Path, metavar="RUN|CHECKPOINT|CONFIG")
    parser.add_argument("inputs", nargs="+", metavar="IMAGE|FOLDER|GLOB|key=value")
    parser.add_argument("--out", type=Path, help="folder; default: RUN/detections, without a run ./detections")
    parser.add_argument("--threshold", type=float, default=0.3, help="lowest score that is shown; default .3")
    options = parser.parse_intermixed_args(arguments)
    overrides = [each for each in options.inputs if re.match(r"[a-z_.]+=", each) and not Path(each).exists()]
    out = options.out or (options.target if options.target.is_dir() else Path()) / "detections"
    paths = list_images([each for each in options.inputs if each not in overrides])
    detector = load_detector(options.target, overrides, "cuda" if torch.cuda.is_available() else "cpu")
    out.mkdir(parents=True, exist_ok=True)
    records, problems = {}, []
    for path, record in detect(detector, paths, out, options.threshold):
        if isinstance(record, ValueError):
            problems.append(str(record))
            continue
        records[str(path)] = record
        counts = Counter(each["class"] for each in record["detections"])
        print(f"{path}: {', '.join(f'{count} {name}' for name, count in counts.items()) or 'nothing'}")
    (out / "detections.json").write_text(json.dumps(records, indent=1) + "\n")
    print(f"{out}: {len(records)} pictures, detections.json")
    if problems:
        raise ValueError("\n".join(problems))


if __name__ == "__main__":
    sys.exit(run(main))
