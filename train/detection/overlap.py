"""How much boxes overlap. Every function broadcasts and waits for no device.

B images  N predictions  T truth slots  A anchors
"""

import torch

Corners = tuple[torch.Tensor, ...]  # left, top, right, bottom


def corners(boxes_cxcywh: torch.Tensor) -> Corners:
    cx, cy, w, h = boxes_cxcywh.unbind(-1)
    return cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2


def intersection(one: Corners, other: Corners) -> torch.Tensor:
    """Area. In place as far as possible: in suppression these are the largest tensors of an evaluation."""
    width = torch.minimum(one[2], other[2]).sub_(torch.maximum(one[0], other[0])).clamp_(min=0)
    height = torch.minimum(one[3], other[3]).sub_(torch.maximum(one[1], other[1])).clamp_(min=0)
    return width.mul_(height)


def iou(a_cxcywh: torch.Tensor, b_cxcywh: torch.Tensor) -> torch.Tensor:
    """Intersection over union; 0 where both are empty."""
    shared = intersection(corners(a_cxcywh), corners(b_cxcywh))
    union = a_cxcywh[..., 2:].prod(-1) + b_cxcywh[..., 2:].prod(-1) - shared
    return shared / union.clamp(min=1e-12)


def shape_iou(sizes_BT2: torch.Tensor, anchors_A2: torch.Tensor) -> torch.Tensor:
    """[B, T, A] of boxes around the same centre; both in the same unit."""
    shared_BTA = torch.minimum(sizes_BT2[:, :, None], anchors_A2).prod(-1)
    union_BTA = sizes_BT2.prod(-1, keepdim=True) + anchors_A2.prod(-1) - shared_BTA
    return shared_BTA / union_BTA


def best_iou(boxes_cxcywh_BN4: torch.Tensor, truths_BT5: torch.Tensor) -> torch.Tensor:
    """[B, N] largest IoU of each box with any truth of its image, 0 without truths."""
    iou_BNT = iou(boxes_cxcywh_BN4[:, :, None], truths_BT5[:, None, :, :4])
    return torch.where(truths_BT5[:, None, :, 4] >= 0, iou_BNT, 0).amax(-1)
