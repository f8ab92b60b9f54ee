"""Convolutions and their norms are found in the ways in which people lay out a module."""

from collections import OrderedDict

import pytest
import torch
from torch import nn

from train.weights.foreign import ordered_convolutions


def interleaved() -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            stage1=nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
            stage2=nn.Sequential(nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4)),
            head=nn.Conv2d(4, 4, 1),
        )
    )


class NormsLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, bias=False)
        self.conv2 = nn.Conv2d(4, 4, 1, bias=False)
        self.head = nn.Conv2d(4, 7, 1)
        self.bn1, self.bn2 = nn.BatchNorm2d(4), nn.BatchNorm2d(4)


@pytest.mark.parametrize("model", [interleaved(), NormsLast()], ids=["interleaved", "norms last"])
def test_each_norm_goes_with_its_convolution(model: nn.Module) -> None:
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        assert norm.running_mean is not None
        nn.init.normal_(norm.running_mean)
    found = ordered_convolutions(model.state_dict())
    assert [set(each) for each in found[:2]] == [{"kernel", "scale", "shift", "mean", "variance"}] * 2
    assert set(found[2]) == {"kernel", "bias"}
    for each, norm in zip(found, norms, strict=False):
        torch.testing.assert_close(each["mean"], norm.running_mean)


def test_a_bias_below_a_norm_moves_its_mean() -> None:
    """The same numbers come out of both forms."""
    conv, norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
    for tensor in (*norm.parameters(), *norm.buffers()):
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.5, 1)
    (found,) = ordered_convolutions(nn.Sequential(conv, norm).state_dict())
    images = torch.randn(2, 3, 8, 8)
    expected = norm.eval()(conv(images))
    plain = nn.functional.conv2d(images, found["kernel"])
    same = nn.functional.batch_norm(plain, found["mean"], found["variance"], found["scale"], found["shift"])
    torch.testing.assert_close(same, expected)


def test_a_norm_without_scale_and_what_is_no_convolution() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False), nn.Linear(4, 2))
    (found,) = ordered_convolutions(model.state_dict())
    assert found["scale"].eq(1).all() and found["shift"].eq(0).all()
    assert ordered_convolutions(nn.Linear(3, 4).state_dict()) == []
