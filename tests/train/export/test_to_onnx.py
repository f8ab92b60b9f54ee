"""ONNX files are self-contained, checked, and find what the network finds at any side."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from tests.train.export.conftest import PLAIN, exportable_of
from train.export.compare import compare
from train.export.network import NAMES, Exportable, Outputs
from train.export.to_onnx import Runtime, write

SLOW = pytest.mark.slow
NETWORKS: list[Any] = [(PLAIN, "raw"), (PLAIN, "boxes"), (PLAIN, "detections")]
NETWORKS += [
    pytest.param({"width": 0.0625}, "detections", marks=SLOW),
    pytest.param({"width": 0.0625, "passthrough": "reorg"}, "detections", marks=SLOW),
    pytest.param({"width": 0.125, "variant": "tiny-voc"}, "detections", marks=SLOW),
]


@pytest.mark.parametrize(("model", "outputs"), NETWORKS)
def test_onnxruntime_finds_the_same(
    canvases: NDArray[np.uint8], tmp_path: Path, model: dict[str, Any], outputs: Outputs
) -> None:
    path, exportable = tmp_path / "net.onnx", exportable_of(tmp_path, **model)
    write(exportable, path, outputs)
    assert compare(exportable, Runtime(path), outputs, canvases).accepted
    model = onnx.load(path)
    assert [each.name for each in model.graph.output] == NAMES[outputs]
    dims = [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert model.graph.input[0].name == "images" and dims == ["batch", 3, "height", "width"]
    about = {each.key: each.value for each in model.metadata_props}
    assert json.loads(about["classes"]) == ["a", "b", "c"] and about["outputs"] == outputs
    if outputs == "detections":
        images, boxes, labels, scores = Runtime(path)([np.zeros((3, 3, 64, 64), np.float32)])[0]
        assert len(boxes) == len(labels) == len(scores) and (np.diff(images) >= 0).all()
        for image in range(3):
            assert (np.diff(scores[images == image]) <= 0).all()


def test_nothing_found_is_no_error(exportable: Exportable, tmp_path: Path) -> None:
    write(exportable._replace(score_threshold=0.9999), tmp_path / "net.onnx", "detections")
    found = Runtime(tmp_path / "net.onnx")([np.zeros((1, 3, 32, 32), np.float32)])[0]
    assert [len(each) for each in found] == [0, 0, 0, 0] and found[1].shape == (0, 4)
