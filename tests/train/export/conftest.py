"""Small networks whose numbers are not those of fresh ones, and pictures."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from train.config import Config, load
from train.export.network import Exportable
from train.model import build_model

PLAIN = {"layers": "4 pool 8 pool pool pool pool -6"}


def exportable_of(folder: Path, **model: object) -> Exportable:
    (folder / "config.yaml").write_text(
        f"run: {folder}/run\nrecipe: darknet\ndata: {{train: t, val: v}}\n"
        "evaluate: {side: 64}\nanchors: [1, 1, 2, 1.5]\n"
        f"model: {json.dumps(model)}\n"
    )
    config: Config = load(folder / "config.yaml", [])
    torch.manual_seed(1)
    network = build_model(config.model, 3, 2)
    for name, buffer in network.named_buffers():
        if "running_var" in name:
            torch.nn.init.uniform_(buffer, 0.5, 1.5)
        elif "running_mean" in name:
            torch.nn.init.normal_(buffer, 0, 0.1)
    with torch.no_grad():
        network.output.weight *= 0.1
    return Exportable(network.eval().requires_grad_(False), config, ("a", "b", "c"), 0.05)


@pytest.fixture
def exportable(tmp_path: Path) -> Exportable:
    """Network of few layers: exporters take a second for each."""
    return exportable_of(tmp_path, **PLAIN)


@pytest.fixture
def canvases() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), np.uint8)
