"""Compares what a written file finds with what the network finds: every picture, at several sides and batch sizes.

The reference is the network in double precision. A file's error may be a few times that of the network in float32:
boxes are exponentials, and the last digits of an untrained network's boxes mean nothing.

    B images  N candidates  C classes  D detections  P pictures  S side
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from train.detection.nms import Survivors, suppress
from train.export.network import STRIDE_PX, Decoded, Outputs, Trainee

Arrays = Sequence[NDArray[Any]]
Runtime = Callable[[Sequence[NDArray[np.float32]]], Sequence[Arrays]]  # batches of images -> outputs of each
TOLERANCE_PX, TOLERANCE_SCORE = 1e-4, 1e-4
AS_EXACT = 4.0  # times the network's own error in float32
AT_ONCE = 4


class Difference(NamedTuple):
    """The largest differences over all pictures, boxes clipped to the input."""

    compared: int  #: candidates or detections
    px: float  #: between the file and this program in float32
    score: float
    file_px: float  #: between the file and double precision
    own_px: float  #: between this program in float32 and double precision
    unmatched: int  #: detections that only one of the two found

    @property
    def accepted(self) -> bool:
        near = self.file_px <= max(TOLERANCE_PX, AS_EXACT * self.own_px)
        return near and self.score <= TOLERANCE_SCORE and not self.unmatched

    def __str__(self) -> str:
        text = f"{self.compared:,} compared, largest difference {self.px:.1e} px, {self.score:.1e} in score"
        text += f" (from double precision: the file {self.file_px:.1e} px, this program {self.own_px:.1e} px)"
        return text + f"; {self.unmatched} found by only one" * bool(self.unmatched)

    def worst(self, other: "Difference") -> "Difference":
        px, score, file_px, own_px = (max(pair) for pair in zip(self[1:5], other[1:5], strict=True))
        unmatched = self.unmatched + other.unmatched
        return Difference(self.compared + other.compared, px, score, file_px, own_px, unmatched)


def inputs(canvases_PSS3: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
    """Inputs to compare on: all pictures in batches, some singly at a larger side, some that are not square."""
    side = canvases_PSS3.shape[1]
    for first in range(0, len(canvases_PSS3), AT_ONCE):
        yield _images(canvases_PSS3[first : first + AT_ONCE], side, side)
    for canvas in canvases_PSS3[:AT_ONCE]:
        yield _images(canvas[None], side + 2 * STRIDE_PX, side + 2 * STRIDE_PX)
    yield _images(canvases_PSS3[:AT_ONCE], side, side + STRIDE_PX)


def _images(canvases: NDArray[np.uint8], width: int, height: int) -> NDArray[np.float32]:
    resized = np.stack([cv2.resize(canvas, (width, height)) for canvas in canvases])
    return np.ascontiguousarray(resized.transpose(0, 3, 1, 2), np.float32) / np.float32(255)


def compare(trainee: Trainee, runtime: Runtime, outputs: Outputs, canvases_PSS3: NDArray[np.uint8]) -> Difference:
    own = Decoded(trainee.model, trainee.anchors_cells).eval()
    exact = copy.deepcopy(own).double()
    decode = Decoded(nn.Identity(), trainee.anchors_cells)
    worst = Difference(0, 0, 0, 0, 0, 0)
    batches = list(inputs(canvases_PSS3))
    for images, found in zip(batches, runtime(batches), strict=True):
        tensor = torch.from_numpy(images)
        with torch.inference_mode():
            ours = [each.numpy() for each in own(tensor)]
            truth = [each.numpy() for each in exact(tensor.double())]
            if outputs == "raw":
                found = [each.numpy() for each in decode(torch.from_numpy(found[0]))]
        if outputs == "detections":
            worst = worst.worst(_detections(trainee, images.shape, found, ours, truth))
        else:
            worst = worst.worst(_candidates(trainee.score_threshold, images.shape, found, ours, truth))
    return worst


def _candidates(threshold: float, shape: Sequence[int], found: Arrays, ours: Arrays, truth: Arrays) -> Difference:
    """Compares candidates: each is boxes [B, N, 4] and scores [B, N, C]."""
    shown = ours[1].max(-1) > threshold
    theirs, mine, right = (_clipped(each[0][shown], shape) for each in (found, ours, truth))
    return Difference(
        int(shown.sum()), _most(theirs, mine), _most(found[1], ours[1]), _most(theirs, right), _most(mine, right), 0
    )


def _detections(trainee: Trainee, shape: Sequence[int], found: Arrays, ours: Arrays, truth: Arrays) -> Difference:
    """Compares detections. found: images, boxes, labels, scores, as a file returns them."""
    boxes, scores = torch.from_numpy(ours[0]), torch.from_numpy(ours[1])
    mine = suppress(boxes, scores * (scores > trainee.score_threshold), trainee.config.evaluate.iou_threshold)
    pairs = _pairs(mine, ours[0], found)
    known, theirs = pairs[:, 0], pairs[:, 1]
    places = mine.images[known], mine.boxes[known]
    own, right = _clipped(ours[0][places], shape), _clipped(truth[0][places], shape)
    boxes_found = _clipped(found[1][theirs], shape)
    near = TOLERANCE_SCORE + trainee.score_threshold  # the last digit decides whether these are found
    alone = int((np.delete(mine.scores, known) > near).sum() + (np.delete(found[3], theirs) > near).sum())
    return Difference(
        len(pairs),
        _most(boxes_found, own),
        _most(found[3][theirs], mine.scores[known]),
        _most(boxes_found, right),
        _most(own, right),
        alone,
    )


def _pairs(mine: Survivors, boxes_BN4: NDArray[Any], found: Arrays) -> NDArray[np.int64]:
    """[n, 2] indices in mine and found of the same detection: for an image and class, the nearest box."""
    images, boxes, labels, _ = found
    free = np.ones(len(images), bool)
    pairs = []
    for number, (image, label) in enumerate(zip(mine.images, mine.labels, strict=True)):
        same = np.flatnonzero(free & (images == image) & (labels == label))
        if len(same):
            nearest = same[np.abs(boxes[same] - boxes_BN4[image, mine.boxes[number]]).max(-1).argmin()]
            free[nearest] = False
            pairs.append((number, int(nearest)))
    return np.array(pairs, np.int64).reshape(-1, 2)


def _clipped(boxes_xyxy: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    height, width = shape[2:]
    return boxes_xyxy.clip(0, [width, height, width, height])


def _most(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one.astype(np.float64) - other).max(initial=0))
