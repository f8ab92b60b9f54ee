"""Writes weights alone: .safetensors with the config, and darknet's .weights and .cfg. Read back by our readers."""

import json
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from train.config import load, save
from train.darknet.cfg import read_cfg
from train.darknet.describe import as_cfg
from train.darknet.weights import save_weights
from train.export.network import Exportable, Outputs
from train.model import YOLOv2
from train.trained import load_trained


def write_safetensors(exportable: Exportable, path: Path, _outputs: Outputs) -> None:
    """Tensor names as in a checkpoint; the metadata hold `network`, as JSON, and the run's `config`, as YAML."""
    from safetensors.torch import save as as_bytes

    with tempfile.TemporaryDirectory() as folder:
        save(exportable.config, Path(folder, "config.yaml"))
        config = Path(folder, "config.yaml").read_text(encoding="utf-8")
    about = {"network": json.dumps(exportable.config.network(exportable.classes)), "config": config, "format": "pt"}
    tensors = {name: tensor.contiguous() for name, tensor in exportable.model.state_dict().items()}
    path.write_bytes(as_bytes(tensors, about))  # save_file would let nobody else read the file


def write_darknet(exportable: Exportable, path: Path, _outputs: Outputs) -> None:
    """path: of the .weights; the .cfg goes beside it."""
    config = exportable.config
    text = as_cfg(config.model, config.anchors, len(exportable.classes), config.evaluate.size_px)
    path.with_suffix(".cfg").write_text(text, encoding="utf-8")
    save_weights(exportable.model, path, passthrough=True)


class Runtime:
    """A network built from the written files alone."""

    def __init__(self, model: YOLOv2) -> None:
        self.model = model.eval()

    def __call__(self, batches: Sequence[NDArray[np.float32]]) -> list[list[NDArray[Any]]]:
        with torch.inference_mode():
            return [[self.model(torch.from_numpy(images)).numpy()] for images in batches]


def read_safetensors(path: Path) -> Runtime:
    from safetensors import safe_open

    with safe_open(path, framework="np") as file, tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "config.yaml")
        config.write_text(file.metadata()["config"], encoding="utf-8")
        return Runtime(load_trained(load(config, []), path).model)


def read_darknet(path: Path) -> Runtime:
    cfg = path.with_suffix(".cfg")
    with redirect_stderr(StringIO()):  # remarks on keys that only training reads
        config = load(cfg, [])
    num_classes = read_cfg(cfg).num_classes
    return Runtime(load_trained(config, path, [str(number) for number in range(num_classes)]).model)
