"""What darknet prints for every batch about its region layer (src/region_layer.c, forward_region_layer).

B images  T truth slots  N predictions  X numbers of a prediction
"""

import torch

from train.detection.head import Head
from train.detection.overlap import iou
from train.detection.targets import responsible_index


def region_statistics(head: Head, truths_BT5: torch.Tensor, anchors_cells: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Means over images: number of truths, then sums over them of the IoU with the box that is responsible, of how many
    have one above .5, of the probability of its class there, of the objectness there; objectness everywhere.

    As in darknet every truth counts, also one whose prediction a later one has won.
    """
    index_BT = responsible_index(truths_BT5, anchors_cells, *head.objectness_BAHW.shape[2:])
    here_BT = index_BT.clamp(max=head.objectness_BAHW[0].numel() - 1)

    def there(values_BNX: torch.Tensor) -> torch.Tensor:
        return values_BNX.gather(1, here_BT[..., None].expand(-1, -1, values_BNX.shape[2]))

    one_BT = (truths_BT5[..., 4] >= 0).float()
    label_BT1 = truths_BT5[..., 4:].long().clamp(min=0)
    iou_BT = iou(there(head.boxes_cxcywh_BAHW4.flatten(1, 3)), truths_BT5[..., :4])
    class_BT = there(head.class_logits_BAHWC.flatten(1, 3)).softmax(-1).gather(2, label_BT1)[..., 0]
    object_BT = there(head.objectness_BAHW.flatten(1)[..., None])[..., 0]
    sums = (torch.ones_like(one_BT), iou_BT, (iou_BT > 0.5).float(), class_BT, object_BT)
    return (*((one_BT * each_BT).sum() / len(one_BT) for each_BT in sums), head.objectness_BAHW.mean())
