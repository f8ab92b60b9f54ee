"""The numbers of one batch: terms of the loss, and darknet's statistics (src/region_layer.c, forward_region_layer).

B images  T truth slots  N predictions  X numbers of a prediction
"""

from typing import NamedTuple

import torch

from train.detection.head import Head, class_scores
from train.detection.overlap import iou
from train.detection.targets import responsible_index


class Losses(NamedTuple):
    """Means over the images of a batch. The first six are the terms of the loss, the rest are statistics.

    Sums over truths become what darknet prints when divided by `truths`.
    """

    xy: torch.Tensor
    wh: torch.Tensor
    objectness: torch.Tensor
    no_objectness: torch.Tensor
    classes: torch.Tensor
    prior: torch.Tensor
    truths: torch.Tensor  #: their number ("count")
    iou: torch.Tensor  #: sum over truths of the IoU of the responsible box ("Avg IOU")
    recall: torch.Tensor  #: how many of these IoUs are above .5 ("Avg Recall")
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


def region_statistics(
    head: Head, truths_BT5: torch.Tensor, anchors_cells: torch.Tensor, softmax: bool = True
) -> tuple[torch.Tensor, ...]:
    """The last six of `Losses`. As in darknet every truth counts, even if a later one has won its prediction."""
    index_BT = responsible_index(truths_BT5, anchors_cells, *head.objectness_BAHW.shape[2:])
    here_BT = index_BT.clamp(max=head.objectness_BAHW[0].numel() - 1)

    def there(values_BNX: torch.Tensor) -> torch.Tensor:
        return values_BNX.gather(1, here_BT[..., None].expand(-1, -1, values_BNX.shape[2]))

    one_BT = (truths_BT5[..., 4] >= 0).float()
    label_BT1 = truths_BT5[..., 4:].long().clamp(min=0)
    iou_BT = iou(there(head.boxes_cxcywh_BAHW4.flatten(1, 3)), truths_BT5[..., :4])
    class_BT = there(class_scores(head, softmax).flatten(1, 3)).gather(2, label_BT1)[..., 0]
    object_BT = there(head.objectness_BAHW.flatten(1)[..., None])[..., 0]
    sums = (torch.ones_like(one_BT), iou_BT, (iou_BT > 0.5).float(), class_BT, object_BT)
    return (*((one_BT * each_BT).sum() / len(one_BT) for each_BT in sums), head.objectness_BAHW.mean())
