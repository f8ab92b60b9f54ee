"""A reader that knows darknet's layers and nothing of this program computes the same from the two files."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from train.darknet.cfg import read_cfg
from train.darknet.describe import as_cfg
from train.darknet.weights import load_weights, read_numbers, save_weights
from train.layers import Reorg
from train.model import ModelConfig, YOLOv2, build_model

ANCHORS = [1.0, 1.25, 2.0, 10.0071]
NETWORKS = [
    ModelConfig(width=1 / 16),
    ModelConfig(width=1 / 16, passthrough="reorg"),
    ModelConfig(width=1 / 32, variant="yolov2-2016"),
    ModelConfig(width=1 / 8, variant="tiny-voc"),
    ModelConfig(width=1 / 8, variant="tiny-coco"),
    ModelConfig(layers="4 pool 8 pool pool pool pool -6"),
]


def run_darknet(cfg: str, numbers: np.ndarray, x: torch.Tensor) -> torch.Tensor:
    """parse_network_cfg and forward_network: sections in order, each with the numbers that follow in the file."""
    sections = re.findall(r"\[(\w+)\]\n([^\[]*)", cfg)
    outputs: list[torch.Tensor] = []
    rest = torch.from_numpy(numbers)

    def take(*shape: int) -> torch.Tensor:
        nonlocal rest
        size = int(np.prod(shape))
        taken, rest = rest[:size].view(shape), rest[size:]
        return taken

    for kind, text in sections[1:-1]:
        keys = dict(line.split("=") for line in text.split("\n") if line)
        if kind == "convolutional":
            filters, size = int(keys["filters"]), int(keys["size"])
            bias, norm = take(filters), None
            if "batch_normalize" in keys:
                norm = take(filters), take(filters), take(filters)
            kernel = take(filters, x.shape[1], size, size)
            padding = size // 2 if keys["pad"] == "1" else 0
            x = functional.conv2d(x, kernel, stride=int(keys["stride"]), padding=padding)
            if norm:
                scale, mean, variance = (each[:, None, None] for each in norm)
                x = (x - mean) / (variance + 1e-5).sqrt() * scale
            x = x + bias[:, None, None]
            x = torch.where(x > 0, x, x * 0.1) if keys["activation"] == "leaky" else x
        elif kind == "maxpool" and keys["stride"] == "1":
            x = functional.max_pool2d(functional.pad(x, (0, 1, 0, 1), value=-torch.inf), 2, 1)
        elif kind == "maxpool":
            x = functional.max_pool2d(x, 2, 2)
        elif kind == "route":
            x = torch.cat([outputs[int(each)] for each in keys["layers"].split(",")], 1)
        else:
            assert kind == "reorg", kind
            x = Reorg()(x)
        outputs.append(x)
    assert not len(rest), f"{len(rest)} numbers are left"
    return x


def trained(config: ModelConfig) -> YOLOv2:
    torch.manual_seed(3)
    model = build_model(config, 3, 2)
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        if tensor.ndim == 1:
            torch.nn.init.uniform_(tensor, 0.5, 1.5)
        assert "weight" in name or "bias" in name or tensor.ndim < 2
    return model.eval().requires_grad_(False)


@pytest.mark.parametrize(
    "config", NETWORKS, ids=lambda config: f"{config.variant} {config.passthrough} {config.layers}"
)
def test_darknet_computes_the_same(tmp_path: Path, config: ModelConfig) -> None:
    model, path = trained(config), tmp_path / "net.cfg"
    path.write_text(as_cfg(config, ANCHORS, 3, (224, 288)))
    save_weights(model, tmp_path / "net.weights", passthrough=True)
    images = torch.rand(2, 3, 64, 96)
    found = run_darknet(path.read_text(), read_numbers(tmp_path / "net.weights")[1], images)
    torch.testing.assert_close(found, model(images), rtol=1e-4, atol=1e-4)
    network = read_cfg(path)
    assert network.anchors == ANCHORS and network.num_classes == 3 and network.size_px == (224, 288)
    again = build_model(network.model, 3, 2).eval().requires_grad_(False)
    load_weights(again, tmp_path / "net.weights")
    assert torch.equal(again(images), model(images))
