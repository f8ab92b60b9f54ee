"""Runs pictures and videos through a detector: read, predicted and drawn, a batch at a time."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from data.files import replacing
from data.view.drawing import draw_boxes
from data.wording import counted
from train.detection.head import ImageDetections
from train.inference.detector import Detector, Pixels
from train.inference.inputs import drawn_suffix, read_upright, require_plain
from train.inference.result_formats import Result
from train.inference.video import Write, frames_per_second, read_frames, write_frames

AT_ONCE = {"cpu": 4, "cuda": 32}  # images of one forward pass


class Options(NamedTuple):
    out: Path
    threshold_C: NDArray[np.float64]
    named: bool  # whether boxes are labelled with their classes


@dataclass
class Speed:
    """The time that each part took."""

    images: int = 0
    seconds: dict[str, float] = field(default_factory=lambda: {"decoding": 0.0, "the network": 0.0, "drawing": 0.0})

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - began

    def __str__(self) -> str:
        each = [f"{what} {1e3 * seconds / max(self.images, 1):.1f} ms" for what, seconds in self.seconds.items()]
        return f"{counted(self.images, 'image')}; for each {', '.join(each)}"


def detect_pictures(
    detector: Detector, named_paths: Sequence[tuple[str, Path]], options: Options, speed: Speed
) -> Iterator[Result | ValueError | OSError]:
    """Draws each picture as NAME.jpg and yields its detections; an error if it cannot be decoded or drawn."""
    at_once = AT_ONCE[detector.anchors_cells.device.type]
    draw = partial(_draw, detector=detector, options=options)
    with ThreadPoolExecutor() as threads:
        for first in range(0, len(named_paths), at_once):
            some = named_paths[first : first + at_once]
            with speed.of("decoding"):
                read = list(threads.map(_read, [path for _, path in some]))
            images = [image for image in read if isinstance(image, np.ndarray)]
            with speed.of("the network"):
                found = iter(detector(images, options.threshold_C))
            results = [
                _result(str(path), name, f"{name}{drawn_suffix(path)}", image, next(found))
                for (name, path), image in zip(some, read, strict=True)
                if isinstance(image, np.ndarray)
            ]
            with speed.of("drawing"):
                problems = list(threads.map(draw, images, results))
            speed.images += len(images)
            yield from results
            yield from (each for each in (*read, *problems) if isinstance(each, Exception))


def detect_video(detector: Detector, name: str, path: Path, options: Options, speed: Speed) -> Iterator[Result]:
    """Writes NAME.mp4 and yields each frame's detections, in memory for one batch. ValueError if it does not decode."""
    require_plain(path)
    at_once, number = AT_ONCE[detector.anchors_cells.device.type], 0
    frames = read_frames(path, at_once)
    with write_frames(options.out / f"{name}.mp4", frames_per_second(path)) as write:
        while True:
            with speed.of("decoding"):
                images = next(frames, None)
            if images is None:
                return
            with speed.of("the network"):
                found = detector(images, options.threshold_C)
            with speed.of("drawing"):
                _draw_frames(images, found, detector, options, write)
            speed.images += len(images)
            for image, each in zip(images, found, strict=True):
                yield _result(f"{path}#{number}", f"{name}-{number:06d}", f"{name}.mp4", image, each)
                number += 1


def _draw_frames(
    images: Sequence[Pixels], found: Sequence[ImageDetections], detector: Detector, options: Options, write: Write
) -> None:
    for image, each in zip(images, found, strict=True):
        write(draw_boxes(image, each.boxes_xyxy, each.labels, each.scores, detector.classes, named=options.named))


def _read(path: Path) -> Pixels | ValueError:
    try:
        return read_upright(path)
    except ValueError as error:
        return error


def _result(source: str, name: str, picture: str, image: Pixels, found: ImageDetections) -> Result:
    return Result(source, name, picture, image.shape[1], image.shape[0], found)


def _draw(image: Pixels, result: Result, detector: Detector, options: Options) -> OSError | ValueError | None:
    """Draws a picture; returns the error, so that the others continue."""
    found, path = result.found, options.out / str(result.picture)
    try:
        drawn = draw_boxes(image, found.boxes_xyxy, found.labels, found.scores, detector.classes, named=options.named)
        _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
        with replacing(path, synced=False) as file:  # unlike cv2.imwrite it accepts any name and says why it fails
            file.write(jpeg.tobytes())
    except (OSError, ValueError, cv2.error) as error:
        return error if isinstance(error, OSError | ValueError) else ValueError(f"{path} could not be drawn: {error}")
    return None
