"""Refuses invalid anchors, truths and targets before the loss is computed.

`check_values` waits for the device and is for direct calls. Training does not need it: its loader clips every box to
the input and writes the free slots itself.

    B images  T truth slots  A anchors  H W grid cells  C classes
"""

from collections.abc import Sequence

import torch

from train.detection.head import cell_grid, grid_size

CELL_PX = 32  # side of a grid cell in the network input
TOLERANCE = 1e-4


def check_anchors(anchors: Sequence[Sequence[float]], img_size: int | None) -> torch.Tensor:
    """[A, 2] w, h in px. ValueError if they cannot be pixels of an input of img_size px, unless that is None."""
    try:
        anchors_px = torch.tensor(anchors, dtype=torch.float32)
    except (TypeError, ValueError):
        anchors_px = torch.empty(0)
    if anchors_px.ndim != 2 or anchors_px.shape[1:] != (2,) or not (anchors_px > 0).all() or anchors_px.isinf().any():
        raise ValueError(f"anchors={anchors}: expected pairs of positive w, h in px")
    largest, least = float(anchors_px.max()), 2 * (img_size or 0) / CELL_PX
    if img_size is not None and not least < largest <= 2 * img_size:
        remedy = f"; these look like grid cells: multiply them by {CELL_PX}" if largest <= least else ""
        raise ValueError(
            f"anchors={anchors}: expected px of an input of img_size={img_size}, the largest above {least:g} and at "
            f"most {2 * img_size}, found {largest:g}{remedy}"
        )
    return anchors_px


def check_shapes(predictions: torch.Tensor, target: torch.Tensor, num_anchors: int, num_classes: int) -> None:
    """ValueError with the shapes that fit. Does not wait for the device."""
    expected = num_anchors * (5 + num_classes)
    if predictions.ndim != 4 or predictions.shape[1] != expected:
        raise ValueError(
            f"predictions {tuple(predictions.shape)}: expected (B, {expected}, H, W), {expected} = "
            f"{num_anchors} anchors x (5 + {num_classes} classes)"
        )
    batch, _, height, width = predictions.shape
    dense = (batch, height, width, num_anchors, 5 + num_classes)
    if target.shape != dense and (target.ndim != 3 or target.shape[::2] != (batch, 5)):
        raise ValueError(f"target {tuple(target.shape)}: expected truths ({batch}, T, 5) or a dense target {dense}")


def check_values(target: torch.Tensor, num_classes: int) -> None:
    """ValueError with the first invalid vector. `target` has a shape that `check_shapes` accepts."""
    if target.ndim == 3:
        _check_truths(target, num_classes)
    else:
        _check_dense(target)


def tidied(truths_BT5: torch.Tensor) -> torch.Tensor:
    """The truths with at least one slot, and -1 throughout free ones, whose numbers may be anything, even nan."""
    slots_BT5 = truths_BT5.masked_fill(truths_BT5[..., 4:] == -1, -1)
    return slots_BT5 if slots_BT5.shape[1] else slots_BT5.new_full((len(slots_BT5), 1, 5), -1)


def _check_truths(truths_BT5: torch.Tensor, num_classes: int) -> None:
    label_BT = truths_BT5[..., 4]
    is_class_BT = (label_BT == label_BT.floor()) & (label_BT >= 0) & (label_BT < num_classes)
    wrong_BT = (label_BT != -1) & ~(is_class_BT & _are_fractions(truths_BT5[..., :4]))
    if wrong_BT.any():
        image, slot = wrong_BT.nonzero()[0].tolist()
        raise ValueError(
            f"truths[{image}, {slot}]={_numbers(truths_BT5[image, slot])}: expected cx cy w h as fractions of the "
            f"input, w and h above 0, and a class of 0..{num_classes - 1}; a free slot has class -1"
        )


def _check_dense(target_BHWAK: torch.Tensor) -> None:
    height, width = target_BHWAK.shape[1:3]
    present = target_BHWAK[..., 4] == 1
    one_hot = ((target_BHWAK[..., 5:] == 1).sum(-1) == 1) & ((target_BHWAK[..., 5:] != 0).sum(-1) == 1)
    within = target_BHWAK[..., :2] * grid_size(target_BHWAK, height, width)
    within = within - cell_grid(target_BHWAK, height, width)[:, :, None]  # 0..1 if the centre is in its cell
    slack = TOLERANCE * max(height, width)
    in_cell = ((within >= -slack) & (within <= 1 + slack)).all(-1)
    is_truth = present & one_hot & in_cell & _are_fractions(target_BHWAK[..., :4])
    wrong_BHWA = ~is_truth & (target_BHWAK != 0).any(-1)  # nan is not 0
    if wrong_BHWA.any():
        image, row, column, anchor = wrong_BHWA.nonzero()[0].tolist()
        raise ValueError(
            f"target[{image}, {row}, {column}, {anchor}]={_numbers(target_BHWAK[image, row, column, anchor])}: "
            "expected zeros, or cx cy w h as fractions with the centre in this cell, objectness 1, a one-hot class"
        )


def _are_fractions(boxes_cxcywh: torch.Tensor) -> torch.Tensor:
    """Whether they are fractions; nan is not."""
    inside = (boxes_cxcywh >= -TOLERANCE) & (boxes_cxcywh <= 1 + TOLERANCE)
    return inside.all(-1) & (boxes_cxcywh[..., 2:] > 0).all(-1)


def _numbers(vector: torch.Tensor, most: int = 10) -> str:
    shown = " ".join(f"{number:g}" for number in vector[:most].tolist())
    return f"({shown} ...)" if len(vector) > most else f"({shown})"
