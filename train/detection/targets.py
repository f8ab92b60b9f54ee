"""Assigns truths to responsible predictions (darknet src/region_layer.c, forward_region_layer).

    B images  T truth slots  A anchors  H W grid cells  C classes  N = A*H*W predictions
    K claims of truths to predictions

A truth belongs to the cell that holds its centre and to the anchor whose shape alone overlaps it most (the first one
on a tie): that prediction is responsible for it. Of two truths with the same prediction the later one wins entirely,
as in darknet.
"""

from typing import NamedTuple

import torch
from torch.nn import functional

from train.detection.head import cell_grid, grid_size
from train.detection.overlap import shape_iou

MAX_TRUTHS = 128  # of an image, read back from a dense target


class Targets(NamedTuple):
    """The truth that each prediction is responsible for."""

    responsible_BAHW: torch.Tensor  # bool: a truth belongs here
    boxes_cxcywh_BAHW4: torch.Tensor  # that truth, fractions; arbitrary where not responsible
    labels_BAHW: torch.Tensor  # int64; arbitrary but valid where not responsible


def responsible_index(truths_BT5: torch.Tensor, anchors_cells: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """[B, T] index of the prediction that a truth belongs to, 0..N-1; N for free slots."""
    anchor_BT = _shape_iou(truths_BT5, anchors_cells, height, width).argmax(-1)
    index_BT = anchor_BT * (height * width) + _cell_index(truths_BT5, height, width)
    return torch.where(truths_BT5[..., 4] >= 0, index_BT, anchors_cells.shape[0] * height * width)


def _cell_index(truths_BT5: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """[B, T] index of the cell with the centre; a centre on the far border belongs to the last cell."""
    column_BT = (truths_BT5[..., 0] * width).floor().long().clamp(0, width - 1)
    row_BT = (truths_BT5[..., 1] * height).floor().long().clamp(0, height - 1)
    return row_BT * width + column_BT


def _shape_iou(truths_BT5: torch.Tensor, anchors_cells: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return shape_iou(truths_BT5[..., 2:4] * grid_size(truths_BT5, height, width), anchors_cells)


def assign(
    truths_BT5: torch.Tensor, anchors_cells: torch.Tensor, height: int, width: int, *, anchor_iou: float = 1.0
) -> Targets:
    """Assigns truths without a loop over objects, a shape that depends on their number, or a wait for the device.

    anchor_iou: other anchors of the same cell are also responsible if their shape overlaps the truth more than this. A
    truth's nearest anchor takes precedence over the further anchors of all truths; 1: only the nearest.
    """
    batch, num_slots, _ = truths_BT5.shape
    num_anchors = anchors_cells.shape[0]
    num_predictions = num_anchors * height * width
    index_BK = responsible_index(truths_BT5, anchors_cells, height, width)
    rank_BK = torch.arange(num_slots, device=truths_BT5.device).expand(batch, num_slots)  # the highest claim wins
    if anchor_iou < 1:
        further_BK = _further_index(truths_BT5, anchors_cells, height, width, anchor_iou)
        index_BK = torch.cat([further_BK, index_BK], 1)
        rank_BK = torch.cat([rank_BK.repeat(1, num_anchors), rank_BK + num_slots], 1)
    winner_BN = torch.full((batch, num_predictions + 1), -1, device=truths_BT5.device)
    winner_BN = winner_BN.scatter_reduce(1, index_BK, rank_BK, "amax")[:, :num_predictions]
    slot_BN = winner_BN.clamp(min=0) % num_slots
    won_BN5 = truths_BT5.gather(1, slot_BN[..., None].expand(-1, -1, 5))
    shape = (batch, num_anchors, height, width)
    return Targets(
        (winner_BN >= 0).view(shape),
        won_BN5[..., :4].view(*shape, 4),
        won_BN5[..., 4].long().clamp(min=0).view(shape),
    )


def _further_index(
    truths_BT5: torch.Tensor, anchors_cells: torch.Tensor, height: int, width: int, anchor_iou: float
) -> torch.Tensor:
    """[B, A*T] anchor by anchor: the prediction in a truth's cell if the shapes overlap enough, else N."""
    num_anchors, cells = anchors_cells.shape[0], height * width
    near_BAT = (_shape_iou(truths_BT5, anchors_cells, height, width) > anchor_iou).transpose(1, 2)
    near_BAT = near_BAT & (truths_BT5[:, None, :, 4] >= 0)
    anchor_A1 = torch.arange(num_anchors, device=truths_BT5.device)[:, None]
    index_BAT = anchor_A1 * cells + _cell_index(truths_BT5, height, width)[:, None]
    return torch.where(near_BAT, index_BAT, num_anchors * cells).flatten(1)


def regression_targets(targets: Targets, anchors_cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Targets of sigma(xy) and raw wh, [B, A, H, W, 2] each; those of wh are 0 without a truth (no log of 0)."""
    boxes = targets.boxes_cxcywh_BAHW4
    height, width = boxes.shape[2:4]
    grid = grid_size(boxes, height, width)
    target_xy = boxes[..., :2] * grid - cell_grid(boxes, height, width)
    ratio = boxes[..., 2:] * grid / anchors_cells[:, None, None, :]
    return target_xy, torch.where(targets.responsible_BAHW[..., None] & (ratio > 0), ratio, 1).log()


def dense_target(targets: Targets, num_classes: int) -> torch.Tensor:
    """The targets as one (B, H, W, A, 5+C) tensor: cx cy w h, objectness, one-hot class; zeros without a truth."""
    present = targets.responsible_BAHW[..., None].float()
    one_hot = functional.one_hot(targets.labels_BAHW, num_classes).float()
    return (torch.cat([targets.boxes_cxcywh_BAHW4, torch.ones_like(present), one_hot], -1) * present).permute(
        0, 2, 3, 1, 4
    )


def from_dense(target: torch.Tensor) -> Targets:
    """Inverse of `dense_target`."""
    target_BAHWK = target.permute(0, 3, 1, 2, 4)
    return Targets(target_BAHWK[..., 4] > 0.5, target_BAHWK[..., :4], target_BAHWK[..., 5:].argmax(-1))


def truths_from_targets(targets: Targets) -> torch.Tensor:
    """[B, T, 5] truths, at most MAX_TRUTHS of an image: T is a constant, as the compiler needs."""
    present_BN = targets.responsible_BAHW.flatten(1).float()
    found_BT, index_BT = present_BN.topk(min(MAX_TRUTHS, present_BN.shape[1]), dim=1)
    boxes_BT4 = targets.boxes_cxcywh_BAHW4.flatten(1, 3).gather(1, index_BT[..., None].expand(-1, -1, 4))
    label_BT = targets.labels_BAHW.flatten(1).gather(1, index_BT)
    return torch.cat([boxes_BT4, torch.where(found_BT > 0, label_BT, -1)[..., None]], -1)
