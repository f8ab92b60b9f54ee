"""Channel orders of the passthrough, and recomputing without a trace."""

import pytest
import torch
from torch import nn

import train.model
from train.layers import ConvBlock, Output, Reorg, SpaceToDepth, Stack


def test_the_users_import_stays() -> None:
    assert train.model.SpaceToDepth is SpaceToDepth


def test_space_to_depth_puts_pixel_dy_dx_into_channel_block_dy_dx() -> None:
    x = torch.randn(2, 3, 4, 6)
    y = SpaceToDepth(block_size=2)(x)
    for dy in range(2):
        for dx in range(2):
            for c in range(3):
                assert torch.equal(y[:, (dy * 2 + dx) * 3 + c], x[:, c, dy::2, dx::2])


def test_reorg_equals_darknets_loop() -> None:
    """src/blas.c, reorg_cpu, called by reorg_layer.c with the input's sizes and forward = 0."""
    channels, height, width, stride = 8, 4, 6, 2
    x = torch.randn(1, channels, height, width)
    flat, out = x.flatten(), torch.empty(x.numel())
    out_channels = channels // (stride * stride)
    for k in range(channels):
        for j in range(height):
            for i in range(width):
                source_channel, offset = k % out_channels, k // out_channels
                column, row = i * stride + offset % stride, j * stride + offset // stride
                source = column + width * stride * (row + height * stride * source_channel)
                out[i + width * (j + height * k)] = flat[source]
    assert torch.equal(Reorg()(x).flatten(), out)


@pytest.mark.parametrize("recompute", [False, True])
def test_a_recomputed_stack_gives_the_same_numbers_gradients_and_statistics(recompute: bool) -> None:
    torch.manual_seed(0)
    stack = Stack(ConvBlock(3, 8, 3, 0.1), nn.MaxPool2d(2), ConvBlock(8, 4, 1, 0.1))
    stack.recompute = recompute
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1), requires_grad=True)
    y = stack(x)
    y.square().sum().backward()
    plain = Stack(ConvBlock(3, 8, 3, 0.1), nn.MaxPool2d(2), ConvBlock(8, 4, 1, 0.1))
    torch.manual_seed(0)
    for module in plain.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.reset_parameters()
    again = x.detach().clone().requires_grad_()
    plain(again).square().sum().backward()
    assert x.grad is not None and again.grad is not None and torch.equal(x.grad, again.grad)
    for (name, mine), (_, theirs) in zip(stack.named_buffers(), plain.named_buffers(), strict=True):
        assert torch.equal(mine, theirs), name


def test_the_last_convolution_predicts_in_float32_and_trains_in_the_lower_precision() -> None:
    torch.manual_seed(0)
    output, x = Output(64, 5, 1), torch.randn(1, 64, 40, 40)
    with torch.autocast("cpu", torch.bfloat16):
        assert output(x).dtype == torch.bfloat16
        predicted = output.eval()(x.bfloat16())
    assert predicted.dtype == torch.float32 and len(predicted.unique()) > 7000  # bf16 has some hundreds
    assert torch.equal(predicted, output(x.bfloat16().float()))


def test_the_last_convolution_works_without_numbers() -> None:
    with torch.device("meta"):
        assert Output(8, 5, 1).eval()(torch.empty(1, 8, 2, 2)).shape == (1, 5, 2, 2)
