"""A darknet cfg becomes the network that its weights fit."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from tests.cfg_oracle import forward
from train.config import load
from train.darknet.cfg import as_config, main, read_cfg
from train.darknet.weights import load_weights
from train.model import YOLOv2, build_model

USUAL = "batch_normalize=1\npad=1\nactivation=leaky\n"
TINY = f"""
[net]
width=224   # px
height=224

[convolutional]
filters = 16
size = 3
{USUAL}
[maxpool]
size=2
stride=2
[convolutional]
filters=32
size=3
{USUAL}
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
{USUAL}
[convolutional]
filters=14
size=1
activation=linear
[region]
anchors = 1,2, 3,4.5
classes=2
num=2
softmax=1
"""


def cfg(folder: Path, text: str = TINY) -> Path:
    path = folder / "net.cfg"
    path.write_text(text)
    return path


def test_a_plain_network(tmp_path: Path) -> None:
    network = read_cfg(cfg(tmp_path))
    assert network.model.layers == "16 pool 32 pool pool pool pool -8"
    assert network.anchors == [1, 2, 3, 4.5] and network.num_classes == 2 and network.size_px == (224, 224)
    model = build_model(network.model, 2, 2)
    convolutions = [module for module in model.modules() if isinstance(module, torch.nn.Conv2d)]
    assert [tuple(each.weight.shape) for each in convolutions] == [
        (16, 3, 3, 3), (32, 16, 3, 3), (8, 32, 1, 1), (14, 8, 1, 1)
    ]  # fmt: skip


def test_its_config_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(cfg(tmp_path))])
    (tmp_path / "config.yaml").write_text(capsys.readouterr().out)
    config = load(tmp_path / "config.yaml", [])
    assert config.model.layers == "16 pool 32 pool pool pool pool -8" and config.anchor_pairs == [(1, 2), (3, 4.5)]
    assert config.evaluate.side == 224 and config.run == "runs/net"


def test_an_input_need_not_be_square(tmp_path: Path) -> None:
    network = read_cfg(cfg(tmp_path, TINY.replace("width=224", "width=320")))
    assert network.size_px == (320, 224)
    assert network.remarks == ["line 4, [net] height=224: training is on squares of data.sides"]
    (tmp_path / "config.yaml").write_text(as_config(network, "net"))
    assert load(tmp_path / "config.yaml", []).evaluate.size_px == (320, 224)


def test_the_published_shape_at_an_eighth_of_its_width(shared: Path) -> None:
    network = read_cfg(shared / "golden/darknet/slim.cfg")
    assert network.model.variant == "yolov2" and network.model.width == 1 / 8
    assert network.model.passthrough == "reorg" and network.model.layers is None
    model = build_model(network.model, network.num_classes, len(network.anchors) // 2)
    load_weights(model, shared / "golden/darknet/slim3.weights")


def test_third_party_networks(shared: Path) -> None:
    folder = shared / "golden/darknet_real"
    models: dict[int, YOLOv2] = {}
    for trial in (3, 8):
        network = read_cfg(folder / f"tiny-yolov2-trial{trial}.cfg")
        assert yaml.safe_load(as_config(network, "net"))["evaluate"]["side"] == 224
        models[trial] = build_model(network.model, 20, 5)
    load_weights(models[3], folder / "tiny-yolov2-trial3.weights")
    with pytest.raises(
        ValueError,
        match=r"holds 572,317 numbers, .* takes 574,189; it ends inside convolution 7, 125 filters of 1x1 on 256",
    ):
        load_weights(models[8], folder / "tiny-yolov2-trial8.weights")


def test_networks_of_other_layers_score_as_darknet_computes_them(shared: Path) -> None:
    """No batch norm at all; batch norm and linear activations."""
    folder = shared / "golden/darknet_real"
    for name in ("tiny-yolov2-trial3-noBatch", "tiny-yolov2-trial6"):
        network = read_cfg(folder / f"{name}.cfg")
        model = build_model(network.model, 20, 5).eval()
        load_weights(model, folder / f"{name}.weights")
        image = np.random.default_rng(0).random((3, 32, 32))
        found = model(torch.from_numpy(image[None]).float())[0].detach().numpy()
        header = (folder / f"{name}.weights").read_bytes()
        text = (folder / f"{name}.cfg").read_text()
        expected = forward(text, folder / f"{name}.weights", image, header=20 if header[4] >= 2 else 16)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_what_training_reads_goes_into_the_config_or_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    schedule = "learning_rate=.01\nburn_in=100\npolicy=steps\nsteps=10,20\nscales=.5,.5\nmax_batches=30"
    said = f"batch=8\nsubdivisions=2\n{schedule}\nhue=.2"
    text = TINY.replace("height=224", f"height=224\n{said}").replace(
        "num=2", "num=2\njitter=.1\nrescore=0\nbias_match=1"
    )
    path = cfg(tmp_path, text.replace("softmax=1", "thresh=.7\nobject_scale=3"))
    config = load(path, [])
    assert config.data.batch == 8 and config.schedule.rate == 0.01 and config.schedule.burn_in_images == 800
    assert config.schedule.drop_images == [80, 160] and config.schedule.drop == 0.5
    assert config.data.augment.hue == 0.2 and config.data.augment.jitter == 0.1
    assert config.loss.ignore_iou == 0.7 and config.loss.object == 3 and config.loss.softmax is False
    named = capsys.readouterr().err.splitlines()
    assert len(named) == 3 and all("not translated, used in training only: line" in line for line in named)
    assert [line.rpartition(" ")[2] for line in named] == ["subdivisions=2", "max_batches=30", "rescore=0"]
    main([str(path)])
    (tmp_path / "config.yaml").write_text(capsys.readouterr().out)
    assert load(tmp_path / "config.yaml", []) == config


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[region]", "[yolo]", "expected a detector from .net. to .region., found net, convolutional, maxpool"),
        (
            "[dropout]\nprobability=.5",
            "[shortcut]\nfrom=-3",
            r"net\.cfg:\d+: expected sections of YOLOv2 .*, found \[shortcut\]",
        ),
        ("num=2", "num=3", r"\[region\] anchors=1,2,3,4.5: expected w, h of num=3 anchors, 6 positive numbers"),
        ("filters=14", "filters=15", r"\[convolutional\] filters=15: expected 14, 2 anchors \* \(5 \+ 2 classes\)"),
        ("filters=14", "filters=1000000000", "filters=1000000000: expected at most 2,147,483,648 weights"),
        ("filters=32", "filters=1000000000", r"filters=1000000000: expected at most 2,147,483,648 weights in a layer"),
        (
            "filters=32",
            "filters=many",
            r"net\.cfg:17: \[convolutional\] filters=many: expected a whole number of at least 1",
        ),
        ("filters=32\n", "", r"net\.cfg:16: \[convolutional\] filters: expected .* the key is missing"),
        ("width=224   # px", "width", r"net\.cfg:3: expected key=value inside a \[section\]"),
        ("width=224   # px", "width=220", r"\[net\] width=220: expected a multiple of 32, the stride of the network"),
        ("height=224", "height=220", r"\[net\] height=220: expected a multiple of 32, the stride of the network"),
        ("height=224", "height=224\nchannels=1", r"\[net\] channels=1: expected 3, red, green and blue"),
        (
            "height=224",
            "height=224\nletter_box=1",
            r"net\.cfg:5: \[net\] letter_box=1: expected 0; other values",
        ),
        ("height=224", "height=224\nwdith=3", r"net\.cfg:5: \[net\] wdith=3: is not a YOLOv2 key"),
        ("height=224", "height=224\nheight=224", r"net\.cfg:5: height is already in this section, in line 4"),
        ("height=224", "height=224\nlearning_rate=fast", r"\[net\] learning_rate=fast: expected numbers"),
        ("num=2", "num=2\ncoords=5", r"\[region\] coords=5: expected 4: x, y, w, h"),
        ("num=2", "num=2\ntree=9k.tree", r"\[region\] tree=9k.tree: is not a YOLOv2 key"),
        ("num=2", "num=2\nbackground=1", r"background=1: expected 0"),
        ("size = 3", "size = 3\nxnor=1", r"\[convolutional\] xnor=1: expected 0; other values"),
        ("size = 3", "size = 3\nspeed=1", r"\[convolutional\] speed=1: expected filters, size, stride"),
        ("activation=leaky", "activation=selu", r"activation=selu: expected one of leaky, .*, found 'selu'"),
        (
            "activation=linear",
            "activation=leaky",
            r"activation=leaky: expected linear in the convolution before \[region\]",
        ),
        (
            "activation=linear",
            "activation=linear\nstride=2",
            r"net\.cfg:\d+: expected cells of 32 px, 13 each way .* found 7",
        ),
        (
            "size=2\nstride=2\n[dropout]",
            "size=2\nstride=1\n[dropout]",
            "expected cells of 32 px, 13 each way .* found 26",
        ),
        (
            "[dropout]\nprobability=.5",
            "[route]\nlayers=7",
            r"\[route\] layers=7: expected layers before this one, which is layer 5",
        ),
        (
            "[dropout]\nprobability=.5",
            "[reorg]\nstride=3",
            r"\[reorg\] stride=3: expected one that divides the map of 52 px",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TINY
    with pytest.raises(ValueError, match=message):
        read_cfg(cfg(tmp_path, TINY.replace(old, new, 1)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("size=2\nstride=2", "size=2\nstride={}"),
        ("activation=leaky", "activation={}"),
        ("[dropout]\nprobability=.5", "[route]\nlayers={}x"),
        ("[dropout]", "[{}]"),
        ("probability=.5", "{0}=1\n{0}=1"),
        ("[net]", "[{}]"),
    ],
)
def test_a_message_does_not_grow_with_what_it_shows(tmp_path: Path, old: str, new: str) -> None:
    assert old in TINY
    with pytest.raises(ValueError, match=r"net\.cfg.*expected|net\.cfg.*already") as error:
        read_cfg(cfg(tmp_path, TINY.replace(old, new.format("9" * 5000), 1)))
    assert len(str(error.value)) < 1000


def test_a_remark_does_not_grow_with_its_value(tmp_path: Path) -> None:
    said = f"max_batches={'9' * 5000}\nbatch=1\nscales={','.join(['.5'] * 5000)}"
    remarks = read_cfg(cfg(tmp_path, TINY.replace("height=224", f"height=224\n{said}"))).remarks
    assert len(remarks) == 3 and all(len(remark) < 200 for remark in remarks)


def test_a_value_that_no_run_can_have_is_refused_with_the_file(tmp_path: Path) -> None:
    path = cfg(tmp_path, TINY.replace("height=224", "height=224\nmomentum=9"))
    with pytest.raises(ValueError, match=rf"{path}: .*momentum=9\.0: expected"):
        load(path, [])
