"""Compares what a written file finds with what the network finds: every picture, at several sizes and batch sizes.

The reference is the network in double precision. A file's error may be a few times that of the network in float32:
boxes are exponentials, and the last digits of an untrained network's boxes mean nothing.

    B images  N candidates  C classes  D detections  P pictures
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
from train.detection.validate import CELL_PX
from train.export.network import Decoded, Exportable, Outputs

Arrays = Sequence[NDArray[Any]]
Runtime = Callable[[Sequence[NDArray[np.float32]]], Sequence[Arrays]]  # batches of images -> outputs of each
TOLERANCE_PX, TOLERANCE_SCORE = 1e-4, 1e-4
MAX_ERROR_RATIO = 4.0  # of the file's error to that of the network in float32
BATCH = 4


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
        near = self.file_px <= max(TOLERANCE_PX, MAX_ERROR_RATIO * self.own_px)
        return near and self.score <= TOLERANCE_SCORE and not self.unmatched

    def __str__(self) -> str:
        text = f"{self.compared:,} compared, largest difference {self.px:.1e} px, {self.score:.1e} in score"
        text += f" (from double precision: the file {self.file_px:.1e} px, this program {self.own_px:.1e} px)"
        return text + f"; {self.unmatched} found by only one" * bool(self.unmatched)

    def worst(self, other: "Difference") -> "Difference":
        """The larger of each difference, over what both compared."""
        px, score, file_px, own_px = (max(pair) for pair in zip(self[1:5], other[1:5], strict=True))
        unmatched = self.unmatched + other.unmatched
        return Difference(self.compared + other.compared, px, score, file_px, own_px, unmatched)


def inputs(canvases_PHW3: NDArray[np.uint8]) -> Iterator[NDArray[np.float32]]:
    """Inputs to compare on: all pictures in batches, some singly and larger, some of another shape."""
    height, width = canvases_PHW3.shape[1:3]
    for first in range(0, len(canvases_PHW3), BATCH):
        yield _images(canvases_PHW3[first : first + BATCH], width, height)
    for canvas in canvases_PHW3[:BATCH]:
        yield _images(canvas[None], width + 2 * CELL_PX, height + 2 * CELL_PX)
    yield _images(canvases_PHW3[:BATCH], width, height + CELL_PX)


def _images(canvases: NDArray[np.uint8], width: int, height: int) -> NDArray[np.float32]:
    resized = np.stack([cv2.resize(canvas, (width, height)) for canvas in canvases])
    return np.ascontiguousarray(resized.transpose(0, 3, 1, 2), np.float32) / np.float32(255)


def compare(exportable: Exportable, runtime: Runtime, outputs: Outputs, canvases_PHW3: NDArray[np.uint8]) -> Difference:
    """The difference between what a runtime and this program find on all `inputs`."""
    own = Decoded(exportable.model, exportable.anchors_cells).eval()
    exact = copy.deepcopy(own).double()
    decode = Decoded(nn.Identity(), exportable.anchors_cells)
    worst = Difference(0, 0, 0, 0, 0, 0)
    batches = list(inputs(canvases_PHW3))
    for images, found in zip(batches, runtime(batches), strict=True):
        tensor = torch.from_numpy(images)
        with torch.inference_mode():
            ours = [each.numpy() for each in own(tensor)]
            reference = [each.numpy() for each in exact(tensor.double())]
            if outputs == "raw":
                found = [each.numpy() for each in decode(torch.from_numpy(found[0]))]
        if outputs == "detections":
            worst = worst.worst(_detections(exportable, images.shape, found, ours, reference))
        else:
            worst = worst.worst(_candidates(exportable.score_threshold, images.shape, found, ours, reference))
    return worst


def _candidates(threshold: float, shape: Sequence[int], found: Arrays, ours: Arrays, reference: Arrays) -> Difference:
    """Compares candidates: each is boxes [B, N, 4] and scores [B, N, C]."""
    shown = ours[1].max(-1) > threshold
    theirs, mine, exact = (_clipped(each[0][shown], shape) for each in (found, ours, reference))
    return Difference(
        int(shown.sum()),
        _max_gap(theirs, mine),
        _max_gap(found[1], ours[1]),
        _max_gap(theirs, exact),
        _max_gap(mine, exact),
        0,
    )


def _detections(
    exportable: Exportable, shape: Sequence[int], found: Arrays, ours: Arrays, reference: Arrays
) -> Difference:
    """Compares detections. found: images, boxes, labels, scores, as a file returns them."""
    boxes, scores = torch.from_numpy(ours[0]), torch.from_numpy(ours[1])
    mine = suppress(boxes, scores * (scores > exportable.score_threshold), exportable.config.evaluate.iou_threshold)
    pairs = _pairs(mine, ours[0], found)
    known, theirs = pairs[:, 0], pairs[:, 1]
    places = mine.images[known], mine.boxes[known]
    own, exact = _clipped(ours[0][places], shape), _clipped(reference[0][places], shape)
    boxes_found = _clipped(found[1][theirs], shape)
    near = TOLERANCE_SCORE + exportable.score_threshold  # the last digit decides whether these are found
    alone = int((np.delete(mine.scores, known) > near).sum() + (np.delete(found[3], theirs) > near).sum())
    return Difference(
        len(pairs),
        _max_gap(boxes_found, own),
        _max_gap(found[3][theirs], mine.scores[known]),
        _max_gap(boxes_found, exact),
        _max_gap(own, exact),
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


def _max_gap(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.abs(one.astype(np.float64) - other).max(initial=0))
