"""Decodes the head: raw output -> boxes and scores -> detections.

    B images  A anchors  H W grid cells  C classes  K = 5 + C entries (x y w h objectness classes)  N = A*H*W

Boxes are cxcywh in fractions of the network input unless the name says otherwise; anchors are w, h in grid cells.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from train.detection.nms import suppress

FAR = 1000.0  # fractions of the network input
Floats = NDArray[np.float32]


class Head(NamedTuple):
    """The parts of the raw output, float32."""

    xy_BAHW2: torch.Tensor  # sigmoid: the centre inside its cell, 0..1
    wh_BAHW2: torch.Tensor  # raw: log of size over anchor
    boxes_cxcywh_BAHW4: torch.Tensor
    objectness_BAHW: torch.Tensor  # sigmoid
    objectness_logits_BAHW: torch.Tensor
    class_logits_BAHWC: torch.Tensor


def read_head(raw: torch.Tensor, anchors_cells: torch.Tensor) -> Head:
    """Decodes raw output (section 2, "Direct location prediction"), in float32: exp overflows in half precision."""
    batch, channels, height, width = raw.shape
    num_anchors = anchors_cells.shape[0]
    raw_BAHWK = raw.float().view(batch, num_anchors, channels // num_anchors, height, width).permute(0, 1, 3, 4, 2)
    xy_BAHW2 = raw_BAHWK[..., 0:2].sigmoid()
    wh_BAHW2 = raw_BAHWK[..., 2:4]
    grid_2 = grid_size(raw, height, width)
    centre = (xy_BAHW2 + cell_grid(raw, height, width)) / grid_2
    size = anchors_cells[:, None, None, :] * wh_BAHW2.exp() / grid_2
    return Head(
        xy_BAHW2,
        wh_BAHW2,
        torch.cat([centre, size], dim=-1),
        raw_BAHWK[..., 4].sigmoid(),
        raw_BAHWK[..., 4],
        raw_BAHWK[..., 5:],
    )


def class_scores(head: Head, softmax: bool) -> torch.Tensor:
    """[B, A, H, W, C]. softmax: classes exclude each other; otherwise each has its own probability."""
    return head.class_logits_BAHWC.softmax(-1) if softmax else head.class_logits_BAHWC.sigmoid()


def grid_size(like: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """[2] width, height, filled in on the tensor's device: a copy from the host would wait for the device."""
    return torch.stack([torch.full((), float(side), device=like.device) for side in (width, height)])


def cell_grid(like: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """[H, W, 2] column and row of every cell, made on the tensor's device."""
    columns, rows = torch.arange(width, device=like.device), torch.arange(height, device=like.device)
    return torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)], dim=-1)


class ImageDetections(NamedTuple):
    """Detections of one image, best first."""

    boxes_xyxy: Floats  # [D, 4] fractions of the network input
    labels: NDArray[np.int64]  # [D]
    scores: Floats  # [D] objectness * class probability


def detections(
    raw: torch.Tensor,
    anchors_cells: torch.Tensor,
    *,
    score_threshold: float,
    iou_threshold: float,
    max_detections: int | None = None,
    softmax: bool = True,
) -> list[ImageDetections]:
    """Detections of each image of the batch, at most `max_detections` of one.

    As in `darknet detector valid`: every (box, class) pair whose objectness and score both exceed the threshold, then
    non-maximum suppression.
    """
    boxes_BN4, scores_BNC = candidates(raw, anchors_cells, score_threshold, softmax)
    kept = suppress(boxes_BN4, scores_BNC, iou_threshold)
    if np.isnan(kept.scores).any():
        raise ValueError(
            f"expected numbers from the network, found nan in {len(np.unique(kept.images[np.isnan(kept.scores)]))} of "
            f"{raw.shape[0]} images; it has diverged: go back to an earlier checkpoint"
        )
    boxes_xyxy = boxes_BN4.cpu().numpy()[kept.images, kept.boxes]
    edges = np.searchsorted(kept.images, np.arange(raw.shape[0] + 1))
    most = len(kept.scores) if max_detections is None else max_detections
    ranges = [slice(first, min(first + most, last)) for first, last in pairwise(edges)]
    return [ImageDetections(boxes_xyxy[mine], kept.labels[mine], kept.scores[mine]) for mine in ranges]


def candidates(
    raw: torch.Tensor, anchors_cells: torch.Tensor, score_threshold: float, softmax: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """[B, N, 4] boxes, xyxy, and [B, N, C] their scores, 0 if too low."""
    head = read_head(raw, anchors_cells)
    objectness_BN1 = head.objectness_BAHW.flatten(1)[..., None]
    scores_BNC = objectness_BN1 * class_scores(head, softmax).flatten(1, 3)
    too_low = (objectness_BN1 <= score_threshold) | (scores_BNC <= score_threshold)  # nan is not: it passes
    centre, size = head.boxes_cxcywh_BAHW4.flatten(1, 3).chunk(2, dim=-1)
    # an untrained network's exp may be infinite: a thousand inputs away is equivalent, and has an IoU
    boxes_BN4 = torch.cat([centre - size / 2, centre + size / 2], dim=-1).clamp(-FAR, FAR)
    return boxes_BN4, scores_BNC.masked_fill(too_low, 0)
