"""A file that finds what the network finds is accepted; one that is a little off is not."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from train.detection.nms import suppress
from train.export.compare import BATCH, Runtime, compare, inputs
from train.export.network import Decoded, Exportable, Outputs

Change = Callable[[torch.Tensor], torch.Tensor]


def runtime(exportable: Exportable, outputs: Outputs, change: Change = lambda raw: raw, drop: int = 0) -> Runtime:
    """The network itself, its raw output changed, the last `drop` detections of each batch lost."""
    decode = Decoded(torch.nn.Identity(), exportable.anchors_cells)

    def one(images: NDArray[np.float32]) -> list[NDArray[Any]]:
        with torch.inference_mode():
            raw = change(exportable.model(torch.from_numpy(images)))
            boxes, scores = decode(raw)
        if outputs == "raw":
            return [raw.numpy()]
        if outputs == "boxes":
            return [boxes.numpy(), scores.numpy()]
        kept = suppress(boxes, scores * (scores > exportable.score_threshold), exportable.config.evaluate.iou_threshold)
        found = [kept.images, boxes.numpy()[kept.images, kept.boxes], kept.labels, kept.scores]
        return [each[: len(each) - drop] for each in found]

    def run(batches: Sequence[NDArray[np.float32]]) -> list[list[NDArray[Any]]]:
        return [one(images) for images in batches]

    return run


def test_three_shapes_and_more_than_one_batch_size(canvases: NDArray[np.uint8]) -> None:
    shapes = [images.shape for images in inputs(canvases)]
    assert {shape[0] for shape in shapes} == {1, 2, BATCH} and sum(shape[0] for shape in shapes[:2]) == len(canvases)
    assert {shape[2:] for shape in shapes} == {(64, 64), (128, 128), (96, 64)}
    assert all(images.dtype == np.float32 and images.max() <= 1 for images in inputs(canvases))


@pytest.mark.parametrize("outputs", ["raw", "boxes", "detections"])
def test_the_network_itself_is_accepted(exportable: Exportable, canvases: NDArray[np.uint8], outputs: Outputs) -> None:
    found = compare(exportable, runtime(exportable, outputs), outputs, canvases)
    assert found.accepted and found.px == found.score == 0 and found.compared > 100
    assert 0 < found.own_px < 1e-3


@pytest.mark.parametrize("outputs", ["raw", "boxes", "detections"])
def test_a_thousandth_of_one_number_is_not(
    exportable: Exportable, canvases: NDArray[np.uint8], outputs: Outputs
) -> None:
    def off(raw: torch.Tensor) -> torch.Tensor:
        raw = raw.clone()
        raw[0, 0] += 1e-3
        return raw

    assert not compare(exportable, runtime(exportable, outputs, off), outputs, canvases).accepted


def test_a_lost_detection_is_found_out(exportable: Exportable, canvases: NDArray[np.uint8]) -> None:
    sure = exportable._replace(score_threshold=0.0)
    found = compare(sure, runtime(sure, "detections", drop=1), "detections", canvases)
    assert found.unmatched and not found.accepted and "found by only one" in str(found)
