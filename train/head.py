"""What the head's numbers mean: raw output -> boxes and scores -> detections.

    B images  A anchors  H W grid cells  C classes  K = 5 + C entries (x y w h objectness classes)  N = A*H*W

Boxes are cxcywh in fractions of the network input unless the name says otherwise; anchors are w, h in grid cells.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from data.boxes import Floats, iou, xyxy_from_cxcywh

FAR = 1000.0  # fractions of the network input


class Head(NamedTuple):
    """The raw output taken apart, float32."""

    xy_BAHW2: torch.Tensor  # sigmoid: place of the centre inside its cell, 0..1
    wh_BAHW2: torch.Tensor  # raw: log of size over anchor
    boxes_cxcywh_BAHW4: torch.Tensor
    objectness_BAHW: torch.Tensor  # sigmoid
    class_logits_BAHWC: torch.Tensor


def read_head(raw: torch.Tensor, anchors_cells: torch.Tensor) -> Head:
    """Section 2, "Direct location prediction". In float32 whatever the input: exp overflows in half precision."""
    batch, channels, height, width = raw.shape
    num_anchors = anchors_cells.shape[0]
    raw_BAHWK = raw.float().view(batch, num_anchors, channels // num_anchors, height, width).permute(0, 1, 3, 4, 2)
    xy_BAHW2 = raw_BAHWK[..., 0:2].sigmoid()
    wh_BAHW2 = raw_BAHWK[..., 2:4]
    columns, rows = torch.arange(width, device=raw.device), torch.arange(height, device=raw.device)
    cell_HW2 = torch.stack([columns.expand(height, width), rows[:, None].expand(height, width)], dim=-1)
    grid_2 = grid_size(raw, height, width)
    centre = (xy_BAHW2 + cell_HW2) / grid_2
    size = anchors_cells[:, None, None, :] * wh_BAHW2.exp() / grid_2
    return Head(
        xy_BAHW2,
        wh_BAHW2,
        torch.cat([centre, size], dim=-1),
        raw_BAHWK[..., 4].sigmoid(),
        raw_BAHWK[..., 5:],
    )


def grid_size(like: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """[2] width, height on the tensor's device, filled in there: a copy from the host would wait for the device."""
    return torch.stack([torch.full((), float(side), device=like.device) for side in (width, height)])


class Found(NamedTuple):
    """Detections of one image, best first."""

    boxes_xyxy: Floats  # [D, 4] fractions of the network input
    labels: NDArray[np.int64]  # [D]
    scores: Floats  # [D] objectness * class probability


def candidates(raw: torch.Tensor, anchors_cells: torch.Tensor, score_threshold: float) -> list[Found]:
    """Every (box, class) pair whose objectness and whose score exceed the threshold, as `darknet detector valid`."""
    head = read_head(raw, anchors_cells)
    scores = head.objectness_BAHW[..., None] * head.class_logits_BAHWC.softmax(-1)
    scores = torch.where(head.objectness_BAHW[..., None] > score_threshold, scores, 0).flatten(1, 3)  # [B, N, C]
    boxes = head.boxes_cxcywh_BAHW4.flatten(1, 3)  # [B, N, 4]
    images, places, labels = (scores > score_threshold).nonzero(as_tuple=True)
    # an untrained network's exp may be infinite: a thousand inputs away is as good, and has an IoU
    picked_boxes = np.clip(xyxy_from_cxcywh(boxes[images, places].double().cpu().numpy()), -FAR, FAR)
    picked_scores = scores[images, places, labels].double().cpu().numpy()
    picked_labels, of_image = labels.cpu().numpy(), images.cpu().numpy()
    found = []
    for image in range(raw.shape[0]):
        mine = np.flatnonzero(of_image == image)
        mine = mine[np.argsort(-picked_scores[mine], kind="stable")]
        found.append(Found(picked_boxes[mine], picked_labels[mine], picked_scores[mine]))
    return found


def suppress(found: Found, iou_threshold: float) -> Found:
    """Greedy non-maximum suppression in each class: a box goes where a better one overlaps it by more than this."""
    kept = np.zeros(len(found.labels), bool)
    for label in np.unique(found.labels):
        mine = np.flatnonzero(found.labels == label)  # best first
        boxes = found.boxes_xyxy[mine]
        alive = np.ones(len(mine), bool)
        for first in range(len(mine)):
            if alive[first]:
                overlaps = iou(boxes[first : first + 1], boxes[first + 1 :])[0]
                alive[first + 1 :] &= overlaps <= iou_threshold
        kept[mine[alive]] = True
    return Found(found.boxes_xyxy[kept], found.labels[kept], found.scores[kept])


def detections(
    raw: torch.Tensor, anchors_cells: torch.Tensor, *, score_threshold: float, iou_threshold: float
) -> list[Found]:
    """One `Found` for each image of the batch."""
    return [suppress(found, iou_threshold) for found in candidates(raw, anchors_cells, score_threshold)]
