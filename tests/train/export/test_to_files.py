"""Weights alone come back with the config that they need."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.train.export.conftest import PLAIN, exportable_of
from train.export.compare import compare
from train.export.to_files import read_darknet, read_safetensors, write_darknet, write_safetensors
from train.weights.saved import read_saved

NETWORKS = [
    {"width": 0.0625},
    {"width": 0.0625, "passthrough": "reorg"},
    {"width": 0.0625, "variant": "yolov2-2016"},
    {"width": 0.125, "variant": "tiny-voc"},
    {"width": 0.125, "variant": "tiny-coco"},
    PLAIN,
]


@pytest.mark.parametrize("model", NETWORKS, ids=str)
def test_darknets_two_files(tmp_path: Path, canvases: NDArray[np.uint8], model: dict[str, object]) -> None:
    exportable = exportable_of(tmp_path, **model)
    write_darknet(exportable, tmp_path / "net.weights", "raw")
    found = compare(exportable, read_darknet(tmp_path / "net.weights"), "raw", canvases)
    assert found.accepted and found.px == 0 and found.compared


@pytest.mark.parametrize("model", NETWORKS[:1])
def test_safetensors(tmp_path: Path, canvases: NDArray[np.uint8], model: dict[str, object]) -> None:
    exportable = exportable_of(tmp_path, **model)
    write_safetensors(exportable, tmp_path / "net.safetensors", "raw")
    (tmp_path / "other").touch()
    modes = {(tmp_path / name).stat().st_mode for name in ("net.safetensors", "other")}
    assert len(modes) == 1  # as readable as any new file
    found = compare(exportable, read_safetensors(tmp_path / "net.safetensors"), "raw", canvases)
    assert found.accepted and found.px == 0
    saved = read_saved(tmp_path / "net.safetensors")
    assert saved.network["classes"] == ["a", "b", "c"]
    for name, tensor in exportable.model.state_dict().items():
        assert torch.equal(saved.tensors[name], tensor)
