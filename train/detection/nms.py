"""Greedy non-maximum suppression within each class, exact, for all images and classes of a batch at once.

The classes of an image share its boxes. Their overlaps are computed once per image, on the device, as rows of bits:
memory grows with boxes squared over 8, not with candidates. The walk from the best candidate down happens on the host,
one step for all images and classes together, and only there does anything wait for the device.

    B images  N boxes  C classes  G = B*C walks  W words of 64 bits, enough for N  D survivors
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from train.detection.overlap import intersection

PAIRS_AT_ONCE = {"cpu": 2**16, "cuda": 2**24}  # fits the caches; fills the device in few calls


class Survivors(NamedTuple):
    """The remaining boxes, by image, then best first; among equal scores the lower class, then the earlier box."""

    images: NDArray[np.int64]  # [D]
    boxes: NDArray[np.int64]  # [D] which of the N
    labels: NDArray[np.int64]  # [D]
    scores: NDArray[np.float32]  # [D]


class Prepared(NamedTuple):
    """Tensors that the walks need, on the device."""

    scores_GN: torch.Tensor  # of each walk, best first; 0 after the last candidate
    order_GN: torch.Tensor  # their rows in the fields below
    overlaps_BNW: torch.Tensor  # a row for each box with a candidate, then the other boxes
    box_BN: torch.Tensor  # which of the N a row is


def suppress(boxes_xyxy_BN4: torch.Tensor, scores_BNC: torch.Tensor, iou_threshold: float) -> Survivors:
    """Removes each candidate that a better, surviving one of its class overlaps by more than the threshold.

    A score of 0 marks what is not a candidate. Of equal scores the earlier box is better.
    """
    num_classes = scores_BNC.shape[2]
    scores_GN, order_GN, overlaps_BNW, box_BN = (
        tensor.cpu().numpy() for tensor in prepare(boxes_xyxy_BN4, scores_BNC, iou_threshold)
    )
    kept_GN = _walk(order_GN, np.count_nonzero(scores_GN, axis=1), overlaps_BNW, num_classes)
    walks, steps = kept_GN.nonzero()
    images, labels, scores = walks // num_classes, walks % num_classes, scores_GN[walks, steps]
    boxes = box_BN[images, order_GN[walks, steps]]
    best_first = np.lexsort((-scores, images))
    return Survivors(images[best_first], boxes[best_first], labels[best_first], scores[best_first])


def prepare(boxes_xyxy_BN4: torch.Tensor, scores_BNC: torch.Tensor, iou_threshold: float) -> Prepared:
    """Moves boxes of no class to the end, so that walks and overlaps have few rows."""
    used_BN = (scores_BNC != 0).any(-1)
    box_BN = used_BN.byte().sort(dim=1, descending=True, stable=True).indices
    if box_BN.device.type == "cpu":  # on others, reading the number would wait for the device
        box_BN = box_BN[:, : int(used_BN.sum(1).max())]
    boxes_BN4 = boxes_xyxy_BN4.gather(1, box_BN[..., None].expand(-1, -1, 4))
    scores_BNC = scores_BNC.gather(1, box_BN[..., None].expand(-1, -1, scores_BNC.shape[2]))
    scores_BCN, order_BCN = scores_BNC.transpose(1, 2).contiguous().sort(dim=2, descending=True, stable=True)
    return Prepared(scores_BCN.flatten(0, 1), order_BCN.flatten(0, 1), _overlaps(boxes_BN4, iou_threshold), box_BN)


def _overlaps(boxes_xyxy_BN4: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """[B, N, W] int64: bit j % 64 of word j // 64 says whether the boxes overlap by more than the threshold."""
    batch, num = boxes_xyxy_BN4.shape[:2]
    padded = (num // 64 + 1) * 64  # at least one word
    sides = torch.nn.functional.pad(boxes_xyxy_BN4, (0, 0, 0, padded - num)).unbind(-1)
    area = (sides[2] - sides[0]) * (sides[3] - sides[1])
    packed = torch.empty((batch, num, padded // 8), dtype=torch.uint8, device=area.device)
    at_once = PAIRS_AT_ONCE.get(area.device.type, 2**24)
    images = max(1, at_once // padded**2)
    rows = max(1, at_once // (images * padded))
    for b in range(0, batch, images):
        for n in range(0, num, rows):
            one, other = (slice(b, b + images), slice(n, min(n + rows, num)), None), (slice(b, b + images), None)
            overlap = intersection(tuple(side[one] for side in sides), tuple(side[other] for side in sides))
            union = (area[one] + area[other]).sub_(overlap)
            over = overlap.div_(union) > iou_threshold
            # eight bytes of 0 or 1 become one word; the product gathers them in its highest byte
            packed[one[:2]] = ((over.view(torch.int64) * 0x0102040810204080) >> 56).byte()
    return packed.view(torch.int64)


def _walk(
    order_GN: NDArray[np.int64], counts_G: NDArray[np.int64], overlaps_BNW: NDArray[np.int64], num_classes: int
) -> NDArray[np.bool_]:
    """[G, longest walk] whether the candidate of each step survives; `order_GN`: best first, `counts_G` long."""
    longest_first = np.argsort(-counts_G, kind="stable")
    lengths = counts_G[longest_first]
    steps = int(lengths.max(initial=0))
    row_GN, image_G = order_GN[longest_first, :steps], longest_first // num_classes
    under_way = np.searchsorted(-lengths, -np.arange(steps))  # walks with more steps than this one
    gone_GW = np.zeros((len(lengths), overlaps_BNW.shape[2]), np.int64)
    stays_GN = np.zeros((len(lengths), steps), np.bool_)
    for step, walks in enumerate(under_way):
        row = row_GN[:walks, step]
        stays = gone_GW[np.arange(walks), row >> 6] >> (row & 63) & 1 == 0
        stays_GN[:walks, step] = stays
        staying = np.flatnonzero(stays)
        gone_GW[staying] |= overlaps_BNW[image_G[staying], row[staying]]
    kept_GN = np.empty_like(stays_GN)
    kept_GN[longest_first] = stays_GN
    return kept_GN
