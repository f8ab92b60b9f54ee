"""The region loss: closed form of the gradients darknet writes down (src/region_layer.c, forward_region_layer).

    B images  T truth slots  A anchors  H W grid cells  C classes  N = A*H*W

Per image, with sigma_xy the centre in its cell, t_wh the raw log size, o the objectness, best the largest IoU of a
decoded box with any truth of the image:

    1/2 coord   sum_responsible (2 - wh) [(sigma_xy - x)^2 + (t_wh - log(wh / anchor))^2]
    1/2 object  sum_responsible (o - IoU)^2                   the IoU is a constant here (rescore=1)
    1/2 noobj   sum_others, best <= .6  o^2
        class   sum_responsible cross-entropy
    1/2 prior   sum_others [(sigma_xy - 1/2)^2 + t_wh^2]      for the first 12,800 images

The loss is the mean over images, never divided by objects or cells: gradients do not depend on how a batch is spread
over processes or accumulated.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from train.detection.head import Head, read_head
from train.detection.overlap import best_iou, iou
from train.detection.statistics import region_statistics
from train.detection.targets import Targets, assign, from_dense, goals, truths_of


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Defaults: [region] of yolov2-voc.cfg."""

    coord: float = 1.0
    object: float = 5.0
    noobject: float = 1.0
    classes: float = 1.0
    ignore_iou: float = 0.6  #: a box that overlaps a truth more than this is not pushed to "no object" (thresh)
    prior: float = 0.01  #: pull of all boxes towards their anchors at the start
    prior_images: int = 12_800  #: how long, in images seen


class Losses(NamedTuple):
    """Means over the images of a batch. The first six are the terms of the loss, the rest are statistics.

    Those that are sums over truths become what darknet prints when they are divided by `truths`.
    """

    xy: torch.Tensor
    wh: torch.Tensor
    objectness: torch.Tensor
    no_objectness: torch.Tensor
    classes: torch.Tensor
    prior: torch.Tensor
    truths: torch.Tensor  #: how many there are ("count")
    iou: torch.Tensor  #: sum over truths of the IoU of the box that answers for it ("Avg IOU")
    recall: torch.Tensor  #: how many of these are above .5 ("Avg Recall")
    class_score: torch.Tensor  #: sum over truths of the probability of its class there ("Class")
    object_score: torch.Tensor  #: sum over truths of the objectness there ("Obj")
    any_score: torch.Tensor  #: mean of the objectness everywhere, objects included ("No Obj")

    @property
    def as_darknet(self) -> dict[str, torch.Tensor]:
        """The line of numbers that darknet prints for every batch (forward_region_layer), 0 without a truth."""
        count = self.truths.clamp(min=1e-9)
        return {
            "Avg IOU": self.iou / count,
            "Class": self.class_score / count,
            "Obj": self.object_score / count,
            "No Obj": self.any_score,
            "Avg Recall": self.recall / count,
        }

    @property
    def total(self) -> torch.Tensor:
        return self.xy + self.wh + self.objectness + self.no_objectness + self.classes + self.prior


class YOLOv2Loss(nn.Module):
    """`loss(predictions, target)`; predictions (B, A*(5+C), H, W) raw, any H, W.

    `target` is either dense, (B, H, W, A, 5+C) = cx cy w h as fractions, objectness, one-hot class (`detection.targets`
    makes it), or the truths themselves, (B, T, 5) = cx cy w h class with class -1 for free slots. A dense target holds
    one truth for each anchor and cell; only the truths hold all of them, which the ignore test wants.

    anchors: A pairs w, h in grid cells of 32 px of network input, so that they stay right at every input size.
    img_size: the nominal input side in px; only used to refuse anchors that are pixels. The weights' defaults are
    YOLOv1's 5 and .5; `LossConfig` holds the ones of YOLOv2, which training uses.
    """

    def __init__(
        self,
        anchors: list[tuple[float, float]],
        num_classes: int,
        img_size: int = 416,
        lambda_coord: float = 5,
        lambda_noobj: float = 0.5,
        *,
        lambda_obj: float = 1,
        lambda_class: float = 1,
        ignore_iou: float = 0.6,
        lambda_prior: float = 0,
        prior_images: int = 12_800,
    ) -> None:
        super().__init__()
        anchors_cells = torch.tensor(anchors, dtype=torch.float32)
        if anchors_cells.ndim != 2 or anchors_cells.shape[1] != 2 or not (anchors_cells > 0).all():
            raise ValueError(f"anchors={anchors}: expected pairs of positive w, h in grid cells of 32 px")
        if anchors_cells.max() > 2 * img_size / 32:
            raise ValueError(
                f"anchors={anchors} reach {anchors_cells.max():g} grid cells on an input of {img_size // 32} cells; "
                "these look like pixels: divide them by 32"
            )
        self.anchors_cells: torch.Tensor
        self.register_buffer("anchors_cells", anchors_cells, persistent=False)
        self.num_classes = num_classes
        self.coord, self.noobject, self.object, self.classes = lambda_coord, lambda_noobj, lambda_obj, lambda_class
        self.ignore_iou, self.prior, self.prior_images = ignore_iou, lambda_prior, prior_images

    def forward(
        self, predictions: torch.Tensor, target: torch.Tensor, images_seen: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Mean over the images. `images_seen`: a number on the device; without it the prior term is off."""
        return self.terms(predictions, target, images_seen).total

    def terms(self, predictions: torch.Tensor, target: torch.Tensor, images_seen: torch.Tensor | None = None) -> Losses:
        expected = self.anchors_cells.shape[0] * (5 + self.num_classes)
        if predictions.ndim != 4 or predictions.shape[1] != expected:
            raise ValueError(
                f"predictions {tuple(predictions.shape)}: expected (B, {expected}, H, W), {expected} = "
                f"{self.anchors_cells.shape[0]} anchors x (5 + {self.num_classes} classes)"
            )
        head = read_head(predictions, self.anchors_cells)
        height, width = predictions.shape[2:]
        if target.ndim == 3:
            truths, targets = target[..., :5].float(), assign(target.float(), self.anchors_cells, height, width)
        else:
            targets = from_dense(target.float())
            truths = truths_of(targets)
        with torch.no_grad():
            best_BN = best_iou(head.boxes_cxcywh_BAHW4.flatten(1, 3), truths)
            iou_BAHW = iou(head.boxes_cxcywh_BAHW4, targets.boxes_cxcywh_BAHW4)
            statistics = region_statistics(head, truths, self.anchors_cells)
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
        mine = targets.responsible_BAHW
        one = mine.float()
        goal_xy, goal_wh = goals(targets, self.anchors_cells)
        small_BAHW = one * (2 - targets.boxes_cxcywh_BAHW4[..., 2:].prod(-1))  # small boxes weigh up to twice
        background = (~mine & (best_BAHW <= self.ignore_iou)).float()
        crossed = functional.cross_entropy(
            head.class_logits_BAHWC.flatten(0, 3), targets.labels_BAHW.flatten(), reduction="none"
        )
        prior_BAHW = ((head.xy_BAHW2 - 0.5) ** 2 + head.wh_BAHW2**2).sum(-1)
        prior = self.prior if images_seen is not None else 0.0
        early = 1.0 if images_seen is None else (images_seen < self.prior_images).float()
        return (
            0.5 * self.coord * (small_BAHW * ((head.xy_BAHW2 - goal_xy) ** 2).sum(-1)).sum() / batch,
            0.5 * self.coord * (small_BAHW * ((head.wh_BAHW2 - goal_wh) ** 2).sum(-1)).sum() / batch,
            0.5 * self.object * (one * (head.objectness_BAHW - iou_BAHW) ** 2).sum() / batch,
            0.5 * self.noobject * (background * head.objectness_BAHW**2).sum() / batch,
            self.classes * (one.flatten() * crossed).sum() / batch,
            0.5 * prior * early * ((1 - one) * prior_BAHW).sum() / batch,
        )


def build_loss(config: LossConfig, anchors: list[tuple[float, float]], num_classes: int) -> YOLOv2Loss:
    return YOLOv2Loss(
        anchors,
        num_classes,
        lambda_coord=config.coord,
        lambda_noobj=config.noobject,
        lambda_obj=config.object,
        lambda_class=config.classes,
        ignore_iou=config.ignore_iou,
        lambda_prior=config.prior,
        prior_images=config.prior_images,
    )
