"""What fits is transferred, what does not stays as it was, and both are reported."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.conftest import Weights
from train.darknet.weights import save_weights
from train.model import YOLOv2
from train.weights.transfer import parts_of, transfer

ANCHORS = [1.0, 1.0, 2.0, 2.0]
BACKBONE = 18  # convolutions of Darknet-19 below its classifier


def network(*classes: str, anchors: list[float] = ANCHORS) -> dict[str, Any]:
    return {"classes": list(classes), "anchors": anchors}


def full(num_classes: int = 2, num_anchors: int = 2, **more: Any) -> YOLOv2:
    model = YOLOv2(num_classes, num_anchors, width=1 / 16, **more)
    for name, buffer in model.named_buffers():
        if "running" in name:
            nn.init.uniform_(buffer, 0.5, 1.5)
    return model


def checkpoint(model: YOLOv2, path: Path, about: dict[str, Any]) -> Path:
    torch.save({"step": Weights(model).state_dict(), "network": about}, path)
    return path


def same(one: nn.Module, other: nn.Module) -> bool:
    floats = [name for name, tensor in one.state_dict().items() if tensor.is_floating_point()]
    return all(torch.equal(one.state_dict()[name], other.state_dict()[name]) for name in floats)


class Foreign(nn.Module):
    """Darknet-19 as other people write it down: layers under numbers, a classifier behind them."""

    def __init__(self, model: YOLOv2, bias: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for block in (each for each in model.backbone.modules() if hasattr(each, "conv")):
            kernel = block.conv.weight
            conv = nn.Conv2d(kernel.shape[1], kernel.shape[0], kernel.shape[2], padding=1, bias=bias)
            norm = nn.BatchNorm2d(len(kernel))
            conv.load_state_dict({**conv.state_dict(), "weight": kernel})
            norm.load_state_dict(block.norm.state_dict())
            if conv.bias is not None:
                assert norm.running_mean is not None
                nn.init.uniform_(conv.bias, 1, 2)
                norm.running_mean += conv.bias.detach()
            layers += [conv, norm, nn.LeakyReLU(0.1)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Conv2d(model.backbone.coarse_channels, 1000, 1)


@pytest.mark.parametrize("bias", [False, True])
def test_a_foreign_backbone_is_matched_by_order_and_shape(tmp_path: Path, bias: bool) -> None:
    there, here = full(), full()
    torch.save({"model": Foreign(there, bias).state_dict(), "acc": 0.76}, tmp_path / "darknet19.pth")
    neck = here.neck[0].conv.weight.clone()
    found = transfer(tmp_path / "darknet19.pth", here, network("a", "b"))
    for name, value in there.backbone.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(here.backbone.state_dict()[name], value)
    assert torch.equal(here.neck[0].conv.weight, neck)
    assert found.summary == [
        f"{BACKBONE} of 23 convolutions, by order and shape",
        "new: neck.0, neck.1, bottleneck.0, fused.0, output; 1 of the file's were not used",
    ]


def test_a_checkpoint_of_the_same_network_is_taken_whole(tmp_path: Path) -> None:
    there, here = full(), full()
    found = transfer(checkpoint(there, tmp_path / "a.pt", network("a", "b")), here, network("a", "b"))
    assert found.summary == ["23 of 23 convolutions, by name"] and same(there, here)


def test_classes_that_both_know_keep_their_rows(tmp_path: Path) -> None:
    there, here = full(3), full(4)
    before = here.output.weight.clone()
    path = checkpoint(there, tmp_path / "a.pt", network("dog", "cat", "cow"))
    found = transfer(path, here, network("w", "cow", "dog", "x"))
    assert found.summary == [
        "22 of 23 convolutions, by name",
        "new: output; in the output box, objectness and 2 of 4 classes were used",
    ]
    for anchor in range(2):
        old, new, first = there.output.weight[8 * anchor :], here.output.weight[9 * anchor :], before[9 * anchor :]
        assert torch.equal(new[:5], old[:5])
        assert torch.equal(new[6], old[7]) and torch.equal(new[7], old[5])  # cow, dog
        assert torch.equal(new[5], first[5]) and torch.equal(new[8], first[8])


def test_with_other_anchors_the_output_is_new(tmp_path: Path) -> None:
    there, here = full(), full(2, 3)
    before = here.output.weight.clone()
    path = checkpoint(there, tmp_path / "a.pt", network("a", "b"))
    found = transfer(path, here, network("a", "b", anchors=[1, 1, 2, 2, 3, 3]))
    assert found.summary[1].startswith("new: output; other anchors (the file's: anchors=[1.0,")
    assert torch.equal(here.output.weight, before)


def test_another_variant_takes_what_both_have(tmp_path: Path) -> None:
    there, here = full(), full(variant="yolov2-2016")
    found = transfer(checkpoint(there, tmp_path / "a.pt", network("a", "b")), here, network("a", "b"))
    assert found.new == ["fused.0"] and same(there.backbone, here.backbone) and same(there.output, here.output)


@pytest.mark.parametrize(("convolutions", "filled"), [(None, 23), (BACKBONE, BACKBONE), (5, 5)])
def test_darknets_files_whole_and_in_part(tmp_path: Path, convolutions: int | None, filled: int) -> None:
    there, here = full(), full()
    save_weights(there, tmp_path / "net.conv", convolutions=convolutions)
    found = transfer(tmp_path / "net.conv", here, network("a", "b"))
    assert found.summary[0] == f"{filled} of 23 convolutions, in darknet's order" and len(found.new) == 23 - filled
    assert same(there, here) == (filled == 23)


@pytest.mark.parametrize(("tensor", "value"), [("weight", float("nan")), ("bias", float("inf"))])
def test_numbers_that_are_none_are_refused(tmp_path: Path, tensor: str, value: float) -> None:
    """As of a training that diverged, or of bytes in another order."""
    there = full()
    getattr(there.output, tensor).data[0] = value
    save_weights(there, tmp_path / "net.weights")
    for path in (tmp_path / "net.weights", checkpoint(there, tmp_path / "a.pt", network("a", "b"))):
        with pytest.raises(
            ValueError, match="expected finite numbers, and variances of at least 0, found others in out"
        ):
            transfer(path, full(), network("a", "b"))


def test_variances_below_0_are_refused(tmp_path: Path) -> None:
    there = full()
    there.neck[0].norm.running_var[0] = -1
    save_weights(there, tmp_path / "net.weights")
    with pytest.raises(
        ValueError, match=r"net\.weights: expected finite numbers, .* found others in neck\.0; it is dam"
    ):
        transfer(tmp_path / "net.weights", full(), network("a", "b"))


@pytest.mark.parametrize("classes", [1, 20])
def test_darknets_detector_of_other_classes(tmp_path: Path, classes: int) -> None:
    there, here = full(classes), full()
    save_weights(there, tmp_path / "net.weights")
    found = transfer(tmp_path / "net.weights", here, network("a", "b"))
    assert found.new == ["output"] and same(there.backbone, here.backbone) and same(there.fused, here.fused)
    assert found.notes == [f"the file ends with an output of {2 * (5 + classes)} filters"]


def test_darknets_classifier(tmp_path: Path) -> None:
    there, here = full(), full()
    save_weights(there, tmp_path / "darknet19.weights", convolutions=BACKBONE, wide=False)
    with (tmp_path / "darknet19.weights").open("ab") as file:
        file.write(torch.zeros(1000 * (there.backbone.coarse_channels + 1)).numpy().tobytes())
    found = transfer(tmp_path / "darknet19.weights", here, network("a", "b"))
    assert len(found.filled) == BACKBONE and same(there.backbone, here.backbone)
    assert found.notes == ["the file ends with a classifier's last layer of 1000 filters"]


def test_a_backbone_of_another_shape_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    here = full()
    before = {name: tensor.clone() for name, tensor in here.state_dict().items()}
    wider = YOLOv2(2, 2, width=1 / 8)
    save_weights(wider, tmp_path / "net.weights")
    torch.save(Foreign(wider).state_dict(), tmp_path / "net.pth")
    ours = checkpoint(wider, tmp_path / "net.pt", network("a", "b"))
    other_anchors = checkpoint(wider, tmp_path / "others.pt", network("a", "b", anchors=[3.0, 1.0, 2.0, 2.0]))
    for path, reason in (
        (tmp_path / "net.weights", "595,398 are left over after the last .*another cfg.* or something was appended"),
        (tmp_path / "net.pth", "4x3x3x3"),
        (ours, "width"),
        (other_anchors, "compare model.variant, model.width"),
    ):
        with pytest.raises(ValueError, match=f"begins with a kernel of 2x3x3x3, found none that fit; .*{reason}"):
            transfer(path, here, network("a", "b"))
    assert all(torch.equal(value, before[name]) for name, value in here.state_dict().items())


def test_convolutions_without_batch_norm_are_taken_by_order_and_by_name(tmp_path: Path) -> None:
    lines = ["convolutional filters=4 size=3 pad=1 activation=leaky", *["maxpool size=2 stride=2"] * 5]
    there, here, again = (YOLOv2(3, 2, graph=lines) for _ in range(3))
    assert list(parts_of(there)) == ["backbone.layers.0.conv", "output"]
    save_weights(there, tmp_path / "net.weights")
    assert transfer(tmp_path / "net.weights", here, {}).new == []
    torch.save(there.state_dict(), tmp_path / "net.pth")
    assert transfer(tmp_path / "net.pth", again, {}).new == []
    for model in (here, again):
        assert all(torch.equal(a, b) for a, b in zip(model.parameters(), there.parameters(), strict=True))
