"""darknet's region layer as plain loops, slow and obvious: src/region_layer.c, forward_region_layer.

Gradient of the loss summed over the batch with respect to the raw output. Differs from darknet's delta in sign, and in
that the derivative of the logistic is already multiplied in (darknet does that at the end of the layer).
"""

import math

import numpy as np
from numpy.typing import NDArray


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """IoU of two cx cy w h boxes (src/box.c)."""
    width = min(a[0] + a[2] / 2, b[0] + b[2] / 2) - max(a[0] - a[2] / 2, b[0] - b[2] / 2)
    height = min(a[1] + a[3] / 2, b[1] + b[3] / 2) - max(a[1] - a[3] / 2, b[1] - b[3] / 2)
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (a[2] * a[3] + b[2] * b[3] - width * height)


def region_gradient(
    raw: NDArray[np.float64], truths: NDArray[np.float32], anchors: list[tuple[float, float]], seen: int
) -> NDArray[np.float64]:
    batch, channels, height, width = raw.shape
    entries = channels // len(anchors)
    gradient = np.zeros_like(raw)
    for b in range(batch):
        listed = [[float(x) for x in row] for row in truths[b] if row[4] >= 0]
        for n, anchor in enumerate(anchors):
            for j in range(height):
                for i in range(width):
                    x = raw[b, n * entries : (n + 1) * entries, j, i]
                    g = gradient[b, n * entries : (n + 1) * entries, j, i]
                    box = decode(x, anchor, i, j, width, height)
                    best = max((overlap(box, tuple(t[:4])) for t in listed), default=0.0)
                    o = sigmoid(x[4])
                    if best <= 0.6:  # l.thresh
                        g[4] = (o - 0) * o * (1 - o)
                    if seen < 12800:
                        box_gradient(g, x, (0.5, 0.5, 0.0, 0.0), 0.01)
        for t in listed:
            i, j = min(int(t[0] * width), width - 1), min(int(t[1] * height), height - 1)
            shapes = [overlap((0, 0, t[2] * width, t[3] * height), (0, 0, *anchor)) for anchor in anchors]
            n = shapes.index(max(shapes))
            x = raw[b, n * entries : (n + 1) * entries, j, i]
            g = gradient[b, n * entries : (n + 1) * entries, j, i]
            box = decode(x, anchors[n], i, j, width, height)
            aim = (
                t[0] * width - i,
                t[1] * height - j,
                math.log(t[2] * width / anchors[n][0]),
                math.log(t[3] * height / anchors[n][1]),
            )
            box_gradient(g, x, aim, 2 - t[2] * t[3])
            o = sigmoid(x[4])
            g[4] = 5 * (o - overlap(box, tuple(t[:4]))) * o * (1 - o)  # l.rescore
            likely = np.exp(x[5:] - x[5:].max())
            g[5:] = likely / likely.sum() - np.eye(entries - 5)[int(t[4])]
    return gradient


def decode(
    x: NDArray[np.float64], anchor: tuple[float, float], i: int, j: int, width: int, height: int
) -> tuple[float, float, float, float]:
    return (
        (i + sigmoid(x[0])) / width,
        (j + sigmoid(x[1])) / height,
        math.exp(x[2]) * anchor[0] / width,
        math.exp(x[3]) * anchor[1] / height,
    )


def box_gradient(g: NDArray[np.float64], x: NDArray[np.float64], aim: tuple[float, ...], scale: float) -> None:
    """Overwrites, as delta_region_box does."""
    for k in (0, 1):
        s = sigmoid(x[k])
        g[k] = scale * (s - aim[k]) * s * (1 - s)
        g[k + 2] = scale * (x[k + 2] - aim[k + 2])


def region_loss(
    raw: NDArray[np.float64],
    truths: NDArray[np.float32],
    anchors: list[tuple[float, float]],
    *,
    coord: float,
    noobject: float,
    objectness: float = 1.0,
    classes: float = 1.0,
) -> float:
    """The closed form that the docstring of train.loss states, mean over images, without the prior term."""
    batch, channels, height, width = raw.shape
    entries = channels // len(anchors)
    total = 0.0
    for b in range(batch):
        listed = [[float(x) for x in row] for row in truths[b] if row[4] >= 0]
        winners: dict[tuple[int, int, int], list[float]] = {}
        for t in listed:
            i, j = min(int(t[0] * width), width - 1), min(int(t[1] * height), height - 1)
            shapes = [overlap((0, 0, t[2] * width, t[3] * height), (0, 0, *anchor)) for anchor in anchors]
            winners[shapes.index(max(shapes)), j, i] = t
        for n, anchor in enumerate(anchors):
            for j in range(height):
                for i in range(width):
                    x = raw[b, n * entries : (n + 1) * entries, j, i]
                    box, o, t = decode(x, anchor, i, j, width, height), sigmoid(x[4]), winners.get((n, j, i))
                    if t is None:
                        best = max((overlap(box, tuple(each[:4])) for each in listed), default=0.0)
                        total += noobject / 2 * o**2 if best <= 0.6 else 0.0
                        continue
                    away = (sigmoid(x[0]) - (t[0] * width - i)) ** 2 + (sigmoid(x[1]) - (t[1] * height - j)) ** 2
                    away += (x[2] - math.log(t[2] * width / anchor[0])) ** 2
                    away += (x[3] - math.log(t[3] * height / anchor[1])) ** 2
                    total += coord / 2 * (2 - t[2] * t[3]) * away
                    total += objectness / 2 * (o - overlap(box, tuple(t[:4]))) ** 2
                    total += classes * float(np.log(np.exp(x[5:] - x[5:].max()).sum()) + x[5:].max() - x[5 + int(t[4])])
    return total / batch
