"""The network, its weights file and an SGD step against a run of darknet (yolov2-voc.cfg at an eighth of the width)."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from data.loading.batch import Batch
from launch.processes.environment import Environment
from train.darknet.weights import load_weights, save_weights
from train.loss import LossConfig, build_loss
from train.model import YOLOv2
from train.schedule.learning_rate import ScheduleConfig
from train.stepping.config import StepConfig
from train.stepping.step import Step

ANCHORS = [(1.3221, 1.73145), (3.19275, 4.00944), (5.05587, 8.09892), (9.47112, 4.84053), (11.2364, 10.0071)]


def slim() -> YOLOv2:
    return YOLOv2(20, passthrough="reorg", width=1 / 8, bn_momentum=0.01)


def test_forward_equals_darknets_layer_by_layer(shared: Path) -> None:
    golden = np.load(shared / "golden/darknet/slim_forward.npz")
    layers = {int(name.removeprefix("layer")): golden[name] for name in golden.files if name.startswith("layer")}
    assert layers, f"no layers among {golden.files}"
    model = slim().eval()
    load_weights(model, shared / "golden/darknet/slim3.weights")
    assert model.passthrough is not None and model.bottleneck is not None
    modules = {
        0: model.backbone.fine[0],
        16: model.backbone.fine,
        24: model.neck,
        26: model.bottleneck,
        27: model.passthrough,
        29: model.fused,
        30: model.output,
    }
    seen: dict[int, torch.Tensor] = {}
    for number, module in modules.items():
        module.register_forward_hook(lambda _m, _i, output, number=number: seen.update({number: output}))
    with torch.no_grad():
        model(torch.from_numpy(golden["image"])[None].float() / 255)
    seen[28] = torch.cat([seen[27], seen[24]], dim=1)
    for number, expected in layers.items():
        ours = seen[number].numpy().ravel()
        error = np.linalg.norm(ours - expected.ravel()) / np.linalg.norm(expected)
        assert error < 2e-3, f"layer {number}"


@pytest.mark.parametrize("steps", [1, 3])
def test_weights_after_sgd_steps_move_as_darknets(shared: Path, steps: int) -> None:
    """darknet normalises with the unbiased variance of the batch, torch with the biased one: 3 to 5 % of the update."""
    folder = shared / "golden/darknet"
    golden = np.load(folder / "slim_train.npz")
    model, start, end = slim(), slim(), slim()
    load_weights(model, folder / "slim0.weights")
    load_weights(start, folder / "slim0.weights")
    load_weights(end, folder / f"slim{steps}.weights")
    schedule = ScheduleConfig(rate=1e-5, burn_in_images=0, drop_images=[])
    step = Step(
        StepConfig(precision="fp32", decay=0.05), schedule, model, build_loss(LossConfig(), ANCHORS, 20), Environment()
    )
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eps = 1e-6  # of darknet on the CPU, which made these weights; with cuDNN it is 1e-5, as here
    images, truths = torch.from_numpy(golden["images"]), torch.from_numpy(golden["truths"]).float()
    listed = (truths[..., 0] != 0).cumprod(1).bool()
    truths[..., 4] = torch.where(listed, truths[..., 4], -1)
    for number in range(steps):
        four = slice(4 * number, 4 * number + 4)
        nhwc = images[four].permute(0, 2, 3, 1).contiguous()
        step(Batch(nhwc, truths[four], torch.arange(4), [], nhwc.shape[1]), 12_800 + 4 * number)
    moved, expected = (
        torch.cat([(b - a).flatten() for a, b in zip(start.parameters(), after.parameters(), strict=True)])
        for after in (model, end)
    )
    assert (moved - expected).norm() / expected.norm() < 0.08


@pytest.mark.parametrize("name", ["slim0", "slim1", "slim3"])
def test_weights_round_trip_byte_for_byte(shared: Path, tmp_path: Path, name: str) -> None:
    path = shared / f"golden/darknet/{name}.weights"
    model = slim()
    header = load_weights(model, path)
    save_weights(model, tmp_path / "again.weights", seen=header.seen)
    assert (tmp_path / "again.weights").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("wide", "size"), [(True, 20), (False, 16)])
def test_both_headers(tmp_path: Path, wide: bool, size: int) -> None:
    path = tmp_path / "tiny.weights"
    model, other = YOLOv2(3, variant="tiny-voc", width=1 / 16), YOLOv2(3, variant="tiny-voc", width=1 / 16)
    save_weights(model, path, seen=7, wide=wide)
    numbers = sum(p.numel() for p in model.parameters()) + sum(
        b.numel() for n, b in model.named_buffers() if "running" in n
    )
    assert path.stat().st_size == size + 4 * numbers
    assert load_weights(other, path).seen == 7
    for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_partial_files_fill_the_first_convolutions_only(tmp_path: Path) -> None:
    path = tmp_path / "slim.conv.23"
    model, other = slim(), slim()
    save_weights(model, path, convolutions=18, wide=False)
    neck = other.neck[0].conv.weight.clone()
    load_weights(other, path, partial=True)
    for name, value in model.backbone.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(value, other.backbone.state_dict()[name])
    assert torch.equal(other.neck[0].conv.weight, neck)
    with pytest.raises(ValueError, match="this network of 23 convolutions takes"):
        load_weights(other, path)


def test_a_file_that_ends_inside_a_number_is_called_incomplete(tmp_path: Path) -> None:
    path = tmp_path / "cut.weights"
    save_weights(slim(), path)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"expected whole float32 numbers .*; it is incomplete, or something was app"):
        load_weights(slim(), path)


def test_files_of_another_network_are_refused_with_both_counts(tmp_path: Path) -> None:
    path = tmp_path / "coco.weights"
    save_weights(YOLOv2(80, width=1 / 8), path)
    model = slim()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(
        ValueError,
        match=r"holds [\d,]+ numbers, this network of 23 convolutions takes [\d,]+; .* something was appended",
    ):
        load_weights(model, path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    save_weights(model, path)
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(
        ValueError, match=r"it ends inside convolution 23, 125 filters of 1x1 on 128 channels.* or it is incomplete"
    ):
        load_weights(model, path)
    path.write_bytes(struct.pack("<iii", 0, 2, 0))
    with pytest.raises(ValueError, match="too few for the header"):
        load_weights(model, path)
