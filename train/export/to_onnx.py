"""Writes ONNX by torch's exporter, with suppression appended; read back by onnxruntime."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from train.export.network import NAMES, Exportable, Outputs, program

OPSET = 18
ALL = 2**31 - 1  # detections of a class


def write(exportable: Exportable, path: Path, outputs: Outputs) -> None:
    import onnx

    exported = program(exportable, "raw" if outputs == "raw" else "boxes")
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # torch's exporter warns of its own deprecations and of missing torchvision
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        made = torch.onnx.export(exported, (), dynamo=True, opset_version=OPSET, verbose=False)
    assert made is not None
    model = made.model_proto
    if outputs == "detections":
        suppression = exportable.config.evaluate.iou_threshold
        _append_suppression(model.graph, exportable.score_threshold, suppression)
    del model.graph.value_info[:]  # holds torch's names of sizes
    _name(model, outputs)
    for key, value in about(exportable, outputs).items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def about(exportable: Exportable, outputs: Outputs) -> dict[str, str]:
    """Metadata that a user of the file needs, as text."""
    return {
        "input": "float32 [batch, 3, height, width], RGB in 0..1, sides multiples of 32 px",
        "outputs": outputs,
        "classes": json.dumps(exportable.classes),
        "anchors_cells": json.dumps(exportable.config.anchor_pairs),
        "resize": exportable.config.data.resize,
        "width": str(exportable.config.evaluate.size_px[0]),
        "height": str(exportable.config.evaluate.size_px[1]),
    }


def _name(model: Any, outputs: Outputs) -> None:
    """Replaces torch's names by readable ones."""
    names = ["images", *NAMES[outputs]]
    sizes = {"images": ["batch", "", "height", "width"]}
    if outputs != "detections":
        sizes |= {"raw": ["batch", "", "rows", "columns"]}
        sizes |= {name: ["batch", "boxes", ""] for name in NAMES["boxes"]}
    values = [*model.graph.input, *model.graph.output]
    renamed = {value.name: name for value, name in zip(values, names, strict=True)}
    for node in model.graph.node:
        for ends in (node.input, node.output):
            ends[:] = [renamed.get(each, each) for each in ends]
    for value in values:
        value.name = renamed[value.name]
        dims = value.type.tensor_type.shape.dim
        for dim, size in zip(dims, sizes.get(value.name, [""] * len(dims)), strict=True):
            if size:
                dim.dim_param = size


def _append_suppression(graph: Any, score_threshold: float, iou_threshold: float) -> None:
    """boxes, scores -> images, boxes, labels, scores, by ONNX's own NonMaxSuppression, then sorted."""
    from onnx import TensorProto, helper, numpy_helper

    boxes, scores = (output.name for output in graph.output)
    constants = {
        "all": np.array([ALL], np.int64),
        "iou": np.array([iou_threshold], np.float32),
        "least": np.array([score_threshold], np.float32),
        "0": np.array(0, np.int64),
        "1": np.array(1, np.int64),
        "0 and 2": np.array([0, 2], np.int64),
        "two": np.array(2.0, np.float64),
    }
    graph.initializer.extend(numpy_helper.from_array(value, f"nms {name}") for name, value in constants.items())

    def add(kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        graph.node.append(helper.make_node(kind, inputs, [f"nms {output}"], f"nms {output}", **attributes))

    add("Transpose", [scores], "by class", perm=[0, 2, 1])
    thresholds = ["nms all", "nms iou", "nms least"]
    add("NonMaxSuppression", [boxes, "nms by class", *thresholds], "kept")  # [D, 3] image, class, box
    add("Gather", ["nms kept", "nms 0"], "images", axis=1)
    add("Gather", ["nms kept", "nms 1"], "labels", axis=1)
    add("Gather", ["nms kept", "nms 0 and 2"], "places", axis=1)
    add("GatherND", [boxes, "nms places"], "boxes")
    add("GatherND", ["nms by class", "nms kept"], "scores")
    # one number to sort by: twice the image minus the score, which is below 1
    add("Cast", ["nms images"], "images as double", to=TensorProto.DOUBLE)
    add("Cast", ["nms scores"], "scores as double", to=TensorProto.DOUBLE)
    add("Mul", ["nms images as double", "nms two"], "first")
    add("Sub", ["nms first", "nms scores as double"], "rank")
    add("Shape", ["nms rank"], "count")
    graph.node.append(
        helper.make_node("TopK", ["nms rank", "nms count"], ["nms sorted", "nms order"], "nms order", largest=0)
    )
    for name in ("images", "boxes", "labels", "scores"):
        add("Gather", [f"nms {name}", "nms order"], f"sorted {name}", axis=0)
    _set_outputs(graph)


def _set_outputs(graph: Any) -> None:
    from onnx import TensorProto, helper

    del graph.output[:]
    integers, floats = TensorProto.INT64, TensorProto.FLOAT
    kinds = {"images": (integers, []), "boxes": (floats, [4]), "labels": (integers, []), "scores": (floats, [])}
    for name, (kind, shape) in kinds.items():
        graph.output.append(helper.make_tensor_value_info(f"nms sorted {name}", kind, ["detections", *shape]))


class Runtime:
    """onnxruntime on the CPU."""

    def __init__(self, path: Path) -> None:
        import onnxruntime

        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def __call__(self, batches: Sequence[NDArray[np.float32]]) -> list[list[NDArray[Any]]]:
        return [[np.asarray(each) for each in self.session.run(None, {"images": images})] for images in batches]
