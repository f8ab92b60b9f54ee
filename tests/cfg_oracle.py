"""A slow, literal reading of a darknet cfg and its weights, in numpy: src/parser.c and the forward of each layer.

Shares no code with the program. Maps are [C, H, W], float64.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float64]


def sections_of(text: str) -> list[tuple[str, dict[str, str]]]:
    found: list[tuple[str, dict[str, str]]] = []
    for line in text.splitlines():
        line = line.split("#")[0].replace(" ", "").replace("\t", "")
        if line.startswith("["):
            found.append((line.strip("[]"), {}))
        elif line:
            key, value = line.split("=")
            found[-1][1][key] = value
    return found


def forward(text: str, weights: Path, image: Map, header: int = 20) -> Map:
    """What the region layer reads."""
    numbers = np.frombuffer(weights.read_bytes()[header:], "<f4").astype(np.float64)
    at = 0
    outputs: list[Map] = []
    x = image
    for number, (kind, options) in enumerate(sections_of(text)[1:-1]):

        def integer(key: str, default: int, options: dict[str, str] = options) -> int:
            return int(options.get(key, default))

        if kind == "convolutional":
            n, size, groups = integer("filters", 1), integer("size", 1), integer("groups", 1)
            pad = size // 2 if integer("pad", 0) else integer("padding", 0)
            counts = [n] * (4 if integer("batch_normalize", 0) else 1) + [n * (len(x) // groups) * size * size]
            parts = []
            for count in counts:
                parts.append(numbers[at : at + count])
                at += count
            kernel = parts[-1].reshape(n, len(x) // groups, size, size)
            x = convolve(x, kernel, integer("stride", 1), pad, groups)
            if len(parts) == 5:
                _, gamma, mean, variance, _ = parts
                x = (x - mean[:, None, None]) / np.sqrt(variance + 1e-5)[:, None, None] * gamma[:, None, None]
            x = activate(x + parts[0][:, None, None], options.get("activation", "logistic"))
        elif kind == "maxpool":
            stride = integer("stride", 1)
            size = integer("size", stride)
            x = pool(x, size, stride, integer("padding", size - 1))
        elif kind == "route":
            layers = [int(word) for word in options["layers"].split(",")]
            x = np.concatenate([outputs[layer + number if layer < 0 else layer] for layer in layers])
        elif kind == "reorg":
            x = reorg(x, integer("stride", 1))
        else:
            assert kind == "dropout", kind
        outputs.append(x)
    assert at == len(numbers), f"read {at} of {len(numbers)} numbers"
    return x


def convolve(x: Map, kernel: Map, stride: int, pad: int, groups: int) -> Map:
    n, per_group, size, _ = kernel.shape
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    out_h, out_w = (padded.shape[1] - size) // stride + 1, (padded.shape[2] - size) // stride + 1
    y = np.zeros((n, out_h, out_w))
    for i in range(out_h):
        for j in range(out_w):
            patch = padded[:, i * stride : i * stride + size, j * stride : j * stride + size]
            for group in range(groups):
                mine = slice(group * n // groups, (group + 1) * n // groups)
                part = patch[group * per_group : (group + 1) * per_group]
                y[mine, i, j] = kernel[mine].reshape(-1, part.size) @ part.reshape(-1)
    return y


def activate(x: Map, name: str) -> Map:
    logistic = 1 / (1 + np.exp(-x))
    return {
        "linear": x,
        "leaky": np.where(x > 0, x, 0.1 * x),
        "relu": np.where(x > 0, x, 0),
        "logistic": logistic,
        "swish": x * logistic,
        "mish": x * np.tanh(np.log1p(np.exp(x))),
    }[name]


def pool(x: Map, size: int, stride: int, padding: int) -> Map:
    channels, height, width = x.shape
    out_h, out_w = (height + padding - size) // stride + 1, (width + padding - size) // stride + 1
    y = np.full((channels, out_h, out_w), -np.inf)
    for i in range(out_h):
        for j in range(out_w):
            for n in range(size):
                for m in range(size):
                    row, column = i * stride - padding // 2 + n, j * stride - padding // 2 + m
                    if 0 <= row < height and 0 <= column < width:
                        y[:, i, j] = np.maximum(y[:, i, j], x[:, row, column])
    return y


def reorg(x: Map, stride: int) -> Map:
    channels, height, width = x.shape
    flat, out, out_channels = x.reshape(-1), np.empty(x.size), channels // (stride * stride)
    for k in range(channels):
        for j in range(height):
            for i in range(width):
                source_channel, offset = k % out_channels, k // out_channels
                column, row = i * stride + offset % stride, j * stride + offset // stride
                source = column + width * stride * (row + height * stride * source_channel)
                out[i + width * (j + height * k)] = flat[source]
    return out.reshape(channels * stride * stride, height // stride, width // stride)
