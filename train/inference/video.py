"""Reads and writes videos frame by frame, in memory that does not grow with their length."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

CODEC = "mp4v"
USUAL_FPS = 25.0  # if a file does not say


class Write(Protocol):
    def __call__(self, frame: NDArray[np.uint8]) -> None: ...


def read_frames(path: Path, at_once: int) -> Iterator[list[NDArray[np.uint8]]]:
    """Lists of `at_once` frames [H, W, 3] RGB, rotated as the file says. ValueError for a file without frames."""
    video = cv2.VideoCapture(str(path))
    try:
        frames = _frames(video)
        some = list(islice(frames, at_once))
        if not some:
            raise ValueError(f"{path} does not decode: expected a video, found no frame that OpenCV can read")
        while some:
            yield some
            some = list(islice(frames, at_once))
    finally:
        video.release()


def _frames(video: cv2.VideoCapture) -> Iterator[NDArray[np.uint8]]:
    while True:
        there, frame = video.read()
        if not there:
            return
        yield np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB), np.uint8)


def frames_per_second(path: Path) -> float:
    video = cv2.VideoCapture(str(path))
    rate = video.get(cv2.CAP_PROP_FPS)
    video.release()
    return float(rate) if 0 < rate < 1000 else USUAL_FPS


@contextmanager
def write_frames(path: Path, rate: float) -> Iterator[Write]:
    """An .mp4 of the size of its first frame; sides are made even, as the codec requires. OSError if it fails."""
    video: cv2.VideoWriter | None = None

    def write(frame: NDArray[np.uint8]) -> None:
        nonlocal video
        height, width = frame.shape[0] // 2 * 2, frame.shape[1] // 2 * 2
        if video is None:
            if path.is_file() or path.is_symlink():
                path.unlink()  # OpenCV would write into an original that this is a link to
            video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*CODEC), rate, (width, height))
            if not video.isOpened():
                raise OSError(f"{path} could not be written; OpenCV has no encoder for {CODEC} or the folder is full")
        video.write(cv2.cvtColor(frame[:height, :width], cv2.COLOR_RGB2BGR))

    try:
        yield write
    finally:
        if video is not None:
            video.release()
