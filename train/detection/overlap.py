"""Overlaps of boxes. Every function broadcasts, and none waits for the device.

B images  N predictions  T truth slots  A anchors
"""

import math

import torch

Corners = tuple[torch.Tensor, ...]  # left, top, right, bottom


def corners(boxes_cxcywh: torch.Tensor) -> Corners:
    cx, cy, w, h = boxes_cxcywh.unbind(-1)
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def intersection(one: Corners, other: Corners) -> torch.Tensor:
    """Area, in place as far as possible: in suppression these are the largest tensors of an evaluation."""
    width = torch.minimum(one[2], other[2]).sub_(torch.maximum(one[0], other[0])).clamp_(min=0)
    height = torch.minimum(one[3], other[3]).sub_(torch.maximum(one[1], other[1])).clamp_(min=0)
    return width.mul_(height)


def iou(a_cxcywh: torch.Tensor, b_cxcywh: torch.Tensor) -> torch.Tensor:
    """Intersection over union; 0 if both are empty."""
    shared = intersection(corners(a_cxcywh), corners(b_cxcywh))
    union = a_cxcywh[..., 2:].prod(-1) + b_cxcywh[..., 2:].prod(-1) - shared
    return shared / union.clamp(min=1e-12)


def generalized_iou(a_cxcywh: torch.Tensor, b_cxcywh: torch.Tensor) -> torch.Tensor:
    """IoU minus the share of the smallest enclosing box that neither covers, -1..1 (arXiv 1902.09630, equation 1)."""
    one, other = corners(a_cxcywh), corners(b_cxcywh)
    shared, (width, height) = intersection(one, other), _around(one, other)
    union = a_cxcywh[..., 2:].prod(-1) + b_cxcywh[..., 2:].prod(-1) - shared
    around = (width * height).clamp(min=1e-12)
    return shared / union.clamp(min=1e-12) - (around - union) / around


def complete_iou(a_cxcywh: torch.Tensor, b_cxcywh: torch.Tensor) -> torch.Tensor:
    """IoU minus penalties for distance and shape (arXiv 1911.08287, equations 7 and 10 to 12)."""
    overlapping = iou(a_cxcywh, b_cxcywh)
    width, height = _around(corners(a_cxcywh), corners(b_cxcywh))
    centres = ((a_cxcywh[..., :2] - b_cxcywh[..., :2]) ** 2).sum(-1) / (width**2 + height**2).clamp(min=1e-12)
    angle_a, angle_b = (torch.atan2(boxes[..., 2], boxes[..., 3]) for boxes in (a_cxcywh, b_cxcywh))
    shapes = 4 / math.pi**2 * (angle_a - angle_b) ** 2
    with torch.no_grad():
        trade_off = shapes / (1 - overlapping + shapes).clamp(min=1e-12)
    return overlapping - centres - trade_off * shapes


def _around(one: Corners, other: Corners) -> tuple[torch.Tensor, torch.Tensor]:
    """Width and height of the smallest box around both."""
    width = torch.maximum(one[2], other[2]) - torch.minimum(one[0], other[0])
    return width, torch.maximum(one[3], other[3]) - torch.minimum(one[1], other[1])


def shape_iou(sizes_BT2: torch.Tensor, anchors_A2: torch.Tensor) -> torch.Tensor:
    """[B, T, A] IoU of boxes around the same centre; both in the same unit."""
    shared_BTA = torch.minimum(sizes_BT2[:, :, None], anchors_A2).prod(-1)
    union_BTA = sizes_BT2.prod(-1, keepdim=True) + anchors_A2.prod(-1) - shared_BTA
    return shared_BTA / union_BTA


def best_iou(boxes_cxcywh_BN4: torch.Tensor, truths_BT5: torch.Tensor) -> torch.Tensor:
    """[B, N] largest IoU of each box with any truth of its image, 0 without truths."""
    iou_BNT = iou(boxes_cxcywh_BN4[:, :, None], truths_BT5[:, None, :, :4])
    return torch.where(truths_BT5[:, None, :, 4] >= 0, iou_BNT, 0).amax(-1)
