"""Bytes that layers keep. The sums are compared with torch's allocator in test_peak.py."""

import pytest
import torch

from train.model import YOLOv2
from train.stepping.memory.per_layer import layers_of


@pytest.mark.parametrize("itemsize", [2, 4])
def test_a_tiny_network_by_hand(itemsize: int) -> None:
    with torch.device("meta"):
        model = YOLOv2(3, 5, layers="8 pool 8 pool 8 pool 8 pool 8 pool 16")
    pixels, *layers, raw = layers_of(model, 64, itemsize)
    assert pixels.kept == 3 * 64**2 * itemsize
    first, pool = layers[0], layers[1]
    assert first.kept == 2 * first.output == 2 * 8 * 64**2 * itemsize  # the convolution and the leaky ReLU
    assert (
        pool.output == 8 * 32**2 * itemsize and pool.kept == pool.output + 8 * 32**2 * 8
    )  # and the indices of its maxima
    assert raw.kept == 5 * (5 + 3) * 2 * 2 * 4  # in float32, whatever the rest
    assert sum(layer.weights for layer in [*layers, raw]) == sum(each.numel() for each in model.parameters())


def test_of_a_frozen_backbone_only_the_last_map_is_kept() -> None:
    with torch.device("meta"):
        model = YOLOv2(3, 5, layers="8 pool 8 pool 8 pool 8 pool 8 pool 16")
    trained = layers_of(model, 64, 2)
    model.freeze_backbone()
    frozen = [layer for layer in layers_of(model, 64, 2) if layer.frozen]
    assert [layer.kept for layer in frozen[:-1]] == [0] * (len(frozen) - 1) and frozen[-1].kept == 16 * 2**2 * 2
    assert sum(layer.kept for layer in frozen) < sum(layer.kept for layer in trained)
