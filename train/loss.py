"""The region loss: closed form of the gradients darknet writes down (src/region_layer.c, forward_region_layer).

    B images  T truth slots  A anchors  H W grid cells  C classes  N = A*H*W

Per image, with sigma_xy the centre in its cell, t_wh the raw log size, o the objectness, best the largest IoU of a
decoded box with any truth of the image:

    1/2 coord   sum_responsible (2 - wh) [(sigma_xy - x)^2 + (t_wh - log(wh / anchor))^2]
                                                          boxes=giou, ciou: 1 - that overlap in the brackets instead
    1/2 object  sum_responsible (o - IoU)^2                   the IoU is a constant here (rescore=1)
    1/2 noobj   sum_others, best <= .6  o^2                   objectness=bce: cross-entropy instead, without the 1/2
        class   sum_responsible cross-entropy
    1/2 prior   sum_others [(sigma_xy - 1/2)^2 + t_wh^2]      for the first 12,800 images

The loss is the mean over images, never divided by objects or cells: gradients do not depend on how a batch is spread
over processes or accumulated.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn import functional

from train.detection.head import Head, read_head
from train.detection.overlap import best_iou, complete_iou, generalized_iou, iou
from train.detection.statistics import Losses, region_statistics
from train.detection.targets import Targets, assign, from_dense, regression_targets, truths_from_targets
from train.detection.validate import CELL_PX, check_anchors, check_shapes, check_values, tidied

__all__ = ["LossConfig", "Losses", "YOLOv2Loss", "build_loss"]

Objectness = Literal["squared", "bce"]
Boxes = Literal["darknet", "giou", "ciou"]


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Defaults: [region] of yolov2-voc.cfg."""

    coord: float = 1.0  #: [weight] of the boxes
    boxes: Boxes = "darknet"  #: darknet: squared error of centre and log size; giou, ciou: 1 minus that overlap
    object: float = 5.0  #: [weight] of the objectness of predictions with an object
    noobject: float = 1.0  #: [weight] of the objectness of predictions without an object
    objectness: Objectness = "squared"  #: darknet: squared; bce: its gradient does not vanish near 0 and 1
    classes: float = 1.0  #: [weight] of the class
    ignore_iou: float = 0.6  #: [IoU] boxes that overlap a truth more are not pushed towards "no object" (thresh)
    softmax: bool = True  #: classes exclude each other; false: each has its own probability, darknet's softmax=0
    anchor_iou: float = 1.0  #: [IoU] anchors whose shape overlaps a truth more are responsible too; 1: only the nearest
    prior: float = 0.01  #: [weight] of the pull of all boxes towards their anchors at the start
    prior_images: int = 12_800  #: [images] seen when that pull ends


class YOLOv2Loss(nn.Module):
    """`loss(predictions, target)`; predictions (B, A*(5+C), H, W) raw, any H, W.

    `target` is either dense, (B, H, W, A, 5+C) = cx cy w h as fractions, objectness, one-hot class (`detection.targets`
    makes it), or the truths themselves, (B, T, 5) = cx cy w h class with class -1 for free slots. A dense target holds
    one truth for each anchor and cell; the ignore test needs all truths, which only the second form holds.

    anchors: A pairs w, h in pixels of a square input of `img_size` px. Internally they are grid cells of 32 px, so they
    are equally large on inputs of other sizes. img_size only serves to refuse anchors that cannot be such pixels; None
    refuses nothing. The default weights are YOLOv1's 5 and .5; training uses those of YOLOv2 (`LossConfig`).
    """

    def __init__(
        self,
        anchors: list[tuple[float, float]],
        num_classes: int,
        img_size: int | None,
        lambda_coord: float = 5,
        lambda_noobj: float = 0.5,
        *,
        lambda_obj: float = 1,
        lambda_class: float = 1,
        ignore_iou: float = 0.6,
        boxes: Boxes = "darknet",
        objectness: Objectness = "squared",
        softmax: bool = True,
        anchor_iou: float = 1.0,
        lambda_prior: float = 0,
        prior_images: int = 12_800,
    ) -> None:
        super().__init__()
        for name, given, known in (("boxes", boxes, Boxes), ("objectness", objectness, Objectness)):
            if given not in get_args(known):
                raise ValueError(f"{name}={given!r}: expected {' or '.join(get_args(known))}")
        self.anchors_cells: torch.Tensor
        self.register_buffer("anchors_cells", check_anchors(anchors, img_size) / CELL_PX, persistent=False)
        self.num_classes = num_classes
        self.coord, self.noobject, self.object, self.classes = lambda_coord, lambda_noobj, lambda_obj, lambda_class
        self.ignore_iou, self.anchor_iou, self.softmax = ignore_iou, anchor_iou, softmax
        self.boxes, self.objectness = boxes, objectness
        self.prior, self.prior_images = lambda_prior, prior_images

    def forward(
        self, predictions: torch.Tensor, target: torch.Tensor, images_seen: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mean over the images. `images_seen`: a number on the device; without it the prior term is off.

        Checks for invalid truths and targets (ValueError), which waits for the device; `terms` does not.
        """
        check_shapes(predictions, target, len(self.anchors_cells), self.num_classes)
        if not torch.compiler.is_compiling() and target.device.type != "meta":
            check_values(target.float(), self.num_classes)
            target = tidied(target) if target.ndim == 3 else target
        return self.terms(predictions, target, images_seen).total

    def terms(self, predictions: torch.Tensor, target: torch.Tensor, images_seen: torch.Tensor | None = None) -> Losses:
        """The terms of the loss, and darknet's statistics. Arguments as for `forward`; does not wait for the device."""
        check_shapes(predictions, target, len(self.anchors_cells), self.num_classes)
        head = read_head(predictions, self.anchors_cells)
        height, width = predictions.shape[2:]
        if target.ndim == 3:
            truths = target.float()
            targets = assign(truths, self.anchors_cells, height, width, anchor_iou=self.anchor_iou)
        else:
            targets = from_dense(target.float())
            truths = truths_from_targets(targets)
        with torch.no_grad():
            best_BN = best_iou(head.boxes_cxcywh_BAHW4.flatten(1, 3), truths)
            iou_BAHW = iou(head.boxes_cxcywh_BAHW4, targets.boxes_cxcywh_BAHW4)
            statistics = region_statistics(head, truths, self.anchors_cells, self.softmax)
        return Losses(*self._terms(head, targets, best_BN.view_as(iou_BAHW), iou_BAHW, images_seen), *statistics)

    def _terms(
        self,
        head: Head,
        targets: Targets,
        best_BAHW: torch.Tensor,
        iou_BAHW: torch.Tensor,
        images_seen: torch.Tensor | None,
    ) -> tuple[torch.Tensor, ...]:
        """The first six of `Losses`."""
        batch = iou_BAHW.shape[0]
        responsible_BAHW = targets.responsible_BAHW.float()
        background_BAHW = (~targets.responsible_BAHW & (best_BAHW <= self.ignore_iou)).float()
        area_BAHW = targets.boxes_cxcywh_BAHW4[..., 2:].prod(-1)
        box_weight_BAHW = responsible_BAHW * (2 - area_BAHW)  # small boxes weigh up to twice as much
        xy_BAHW, wh_BAHW = self._box(head, targets)
        object_BAHW, no_object_BAHW = self._objectness(head, iou_BAHW)
        class_BAHW = self._class(head, targets.labels_BAHW)
        prior_BAHW = ((head.xy_BAHW2 - 0.5) ** 2 + head.wh_BAHW2**2).sum(-1)
        prior = self.prior if images_seen is not None else 0.0
        early = 1.0 if images_seen is None else (images_seen < self.prior_images).float()
        return (
            0.5 * self.coord * (box_weight_BAHW * xy_BAHW).sum() / batch,
            0.5 * self.coord * (box_weight_BAHW * wh_BAHW).sum() / batch,
            self.object * (responsible_BAHW * object_BAHW).sum() / batch,
            self.noobject * (background_BAHW * no_object_BAHW).sum() / batch,
            self.classes * (responsible_BAHW * class_BAHW).sum() / batch,
            0.5 * prior * early * ((1 - responsible_BAHW) * prior_BAHW).sum() / batch,
        )

    def _box(self, head: Head, targets: Targets) -> tuple[torch.Tensor, torch.Tensor]:
        """Errors of centre and size, each [B, A, H, W]. GIoU and CIoU measure both at once: the second is then 0."""
        if self.boxes == "darknet":
            target_xy, target_wh = regression_targets(targets, self.anchors_cells)
            return ((head.xy_BAHW2 - target_xy) ** 2).sum(-1), ((head.wh_BAHW2 - target_wh) ** 2).sum(-1)
        overlap = generalized_iou if self.boxes == "giou" else complete_iou
        missing_BAHW = 1 - overlap(head.boxes_cxcywh_BAHW4, targets.boxes_cxcywh_BAHW4)
        return missing_BAHW, torch.zeros_like(missing_BAHW)

    def _class(self, head: Head, labels_BAHW: torch.Tensor) -> torch.Tensor:
        logits = head.class_logits_BAHWC
        if self.softmax:
            cross_entropy = functional.cross_entropy(logits.flatten(0, 3), labels_BAHW.flatten(), reduction="none")
            return cross_entropy.view_as(labels_BAHW)
        one_hot = functional.one_hot(labels_BAHW, self.num_classes).float()
        return functional.binary_cross_entropy_with_logits(logits, one_hot, reduction="none").sum(-1)

    def _objectness(self, head: Head, iou_BAHW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The cost of each prediction with an object of that IoU, and without an object."""
        if self.objectness == "squared":
            return 0.5 * (head.objectness_BAHW - iou_BAHW) ** 2, 0.5 * head.objectness_BAHW**2
        logits = head.objectness_logits_BAHW
        with_object = functional.binary_cross_entropy_with_logits(logits, iou_BAHW, reduction="none")
        return with_object, functional.softplus(logits)


def build_loss(config: LossConfig, anchors_cells: list[tuple[float, float]], num_classes: int) -> YOLOv2Loss:
    """The loss of a config. anchors_cells: w, h in grid cells, the unit of the config and of darknet."""
    return YOLOv2Loss(
        [(width * CELL_PX, height * CELL_PX) for width, height in anchors_cells],
        num_classes,
        None,
        lambda_coord=config.coord,
        lambda_noobj=config.noobject,
        lambda_obj=config.object,
        lambda_class=config.classes,
        ignore_iou=config.ignore_iou,
        boxes=config.boxes,
        objectness=config.objectness,
        softmax=config.softmax,
        anchor_iou=config.anchor_iou,
        lambda_prior=config.prior,
        prior_images=config.prior_images,
    )
