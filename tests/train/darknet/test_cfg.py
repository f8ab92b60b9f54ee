"""A darknet cfg becomes the network that its weights fit."""

from pathlib import Path

import pytest
import yaml

from train.config import load
from train.darknet.cfg import as_config, main, read_cfg
from train.darknet.weights import load_weights
from train.model import YOLOv2, build_model

TINY = """
[net]
width=224   # px

[convolutional]
filters = 16
size = 3
[maxpool]
size=2
stride=2
[convolutional]
filters=32
size=3
[maxpool]
size=2
stride=2
[maxpool]
size=2
stride=2
[dropout]
probability=.5
[maxpool]
size=2
stride=2
[maxpool]
size=2
stride=2
[convolutional]
filters=8
size=1
[convolutional]
filters=14
size=1
activation=linear
[region]
anchors = 1,2, 3,4.5
classes=2
num=2
"""


def cfg(folder: Path, text: str = TINY) -> Path:
    path = folder / "net.cfg"
    path.write_text(text)
    return path


def test_a_plain_network(tmp_path: Path) -> None:
    network = read_cfg(cfg(tmp_path))
    assert network.model.layers == "16 pool 32 pool pool pool pool -8"
    assert network.anchors == [1, 2, 3, 4.5] and network.num_classes == 2 and network.side == 224
    model = build_model(network.model, 2, 2)
    convolutions = [module for module in model.modules() if type(module).__name__ == "Conv2d"]
    assert [tuple(each.weight.shape) for each in convolutions] == [
        (16, 3, 3, 3), (32, 16, 3, 3), (8, 32, 1, 1), (14, 8, 1, 1)
    ]  # fmt: skip


def test_its_config_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(cfg(tmp_path))])
    (tmp_path / "config.yaml").write_text(capsys.readouterr().out)
    config = load(tmp_path / "config.yaml", [])
    assert config.model.layers == "16 pool 32 pool pool pool pool -8" and config.anchor_pairs == [(1, 2), (3, 4.5)]
    assert config.evaluate.side == 224 and config.run == "runs/net"


def test_the_published_shape_at_an_eighth_of_its_width(shared: Path) -> None:
    network = read_cfg(shared / "golden/darknet/slim.cfg")
    assert network.model.variant == "yolov2" and network.model.width == 1 / 8
    assert network.model.passthrough == "reorg" and network.model.layers is None
    model = build_model(network.model, network.num_classes, len(network.anchors) // 2)
    load_weights(model, shared / "golden/darknet/slim3.weights")


def test_somebody_elses_networks(shared: Path) -> None:
    folder = shared / "golden/darknet_real"
    models: dict[int, YOLOv2] = {}
    for trial in (3, 8):
        network = read_cfg(folder / f"tiny-yolov2-trial{trial}.cfg")
        assert yaml.safe_load(as_config(network, "net"))["evaluate"]["side"] == 224
        models[trial] = build_model(network.model, 20, 5)
    load_weights(models[3], folder / "tiny-yolov2-trial3.weights")
    with pytest.raises(ValueError, match="holds 572317 numbers, this network of 7 convolutions takes 574189"):
        load_weights(models[8], folder / "tiny-yolov2-trial8.weights")


def test_pools_that_do_not_make_cells_of_32_px_are_refused(tmp_path: Path) -> None:
    fewer = TINY.replace("[maxpool]\nsize=2\nstride=2\n[dropout]", "[dropout]")
    with pytest.raises(ValueError, match=r"model\.layers='16 .*': expected 5 times pool, found 4; cells are 32 px"):
        read_cfg(cfg(tmp_path, fewer))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[region]", "[yolo]", "expected a detector from .net. to .region., found net, convolutional, maxpool"),
        ("[dropout]", "[shortcut]", "expected sections of YOLOv2 .*, found shortcut"),
        ("num=2", "num=3", "expected 3 anchors and a last convolution of 3 .* found 2 anchors and -14"),
        ("filters=14", "filters=15", "found 2 anchors and -15"),
        ("size=3\n[maxpool]", "size=5\n[maxpool]", "expected 1x1 and 3x3 convolutions of stride 1, found 5x5"),
        ("size=2\nstride=2", "size=3\nstride=2", "expected pools of size 2 and stride 1 or 2, found size 3"),
        ("width=224", "width", r"net\.cfg:3: expected key=value inside a \[section\]"),
        ("[dropout]\nprobability=.5", "[route]\nlayers=-1", "its convolutions are not those of yolov2"),
        (
            "size=2\nstride=2\n[dropout]",
            "size=2\nstride=1\n[dropout]",
            "expected pools of stride 1 only in the published tiny networks",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TINY
    with pytest.raises(ValueError, match=message):
        read_cfg(cfg(tmp_path, TINY.replace(old, new, 1)))
