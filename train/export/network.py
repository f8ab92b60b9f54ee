"""The network for other runtimes: float32 [B, 3, 32H, 32W] RGB in 0..1 in, `outputs` out.

    raw         [B, A*(5+C), H, W] output of the head
    boxes       [B, N, 4] boxes, N = A*H*W, and [B, N, C] scores
    detections  D in the whole batch, image by image, best first: [D] image, [D, 4] box, [D] label, [D] score

Boxes are xyxy in px of the network input, scores are objectness times class probability.
"""

from typing import Literal, NamedTuple

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from train.config import Config
from train.detection.head import cell_grid
from train.detection.validate import CELL_PX
from train.model import YOLOv2

Outputs = Literal["raw", "boxes", "detections"]
NAMES: dict[Outputs, list[str]] = {
    "raw": ["raw"],
    "boxes": ["boxes_xyxy", "scores"],
    "detections": ["image", "box_xyxy", "label", "score"],
}
FAR_PX = 1e6  # an untrained network's exp may be infinite, and infinite boxes have no IoU


class Exportable(NamedTuple):
    """A trained network to export, and the meaning of its outputs."""

    model: YOLOv2
    config: Config
    classes: tuple[str, ...]
    score_threshold: float  #: of detections

    @property
    def anchors_cells(self) -> torch.Tensor:
        return torch.tensor(self.config.anchor_pairs)


class Decoded(nn.Module):
    """Images -> boxes and scores. `train.detection.head` in px, so that the graph contains no number of cells."""

    def __init__(self, model: nn.Module, anchors_cells: torch.Tensor, softmax: bool = True) -> None:
        super().__init__()
        self.model, self.softmax = model, softmax
        self.register_buffer("anchors_px", anchors_cells * CELL_PX)
        self.anchors_px: torch.Tensor

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        raw = self.model(images)
        batch, channels, height, width = raw.shape
        num_anchors = len(self.anchors_px)
        raw_BAHWK = raw.view(batch, num_anchors, channels // num_anchors, height, width).permute(0, 1, 3, 4, 2)
        centre = (raw_BAHWK[..., 0:2].sigmoid() + cell_grid(raw, height, width)) * CELL_PX
        size = self.anchors_px[:, None, None] * raw_BAHWK[..., 2:4].exp()
        boxes = torch.cat([centre - size / 2, centre + size / 2], dim=-1).clamp(-FAR_PX, FAR_PX)
        logits = raw_BAHWK[..., 5:]
        scores = raw_BAHWK[..., 4:5].sigmoid() * (logits.softmax(-1) if self.softmax else logits.sigmoid())
        return boxes.flatten(1, 3), scores.flatten(1, 3)


def program(exportable: Exportable, outputs: Outputs) -> ExportedProgram:
    """torch.export's graph, without suppression, for any batch size and any sides that are multiples of 32 px."""
    network = (
        exportable.model
        if outputs == "raw"
        else Decoded(exportable.model, exportable.anchors_cells, exportable.config.loss.softmax)
    )
    images = torch.zeros(2, 3, 3 * CELL_PX, 4 * CELL_PX)
    sizes = {0: Dim("batch"), 2: CELL_PX * Dim("rows"), 3: CELL_PX * Dim("columns")}
    return torch.export.export(network.eval(), (images,), dynamic_shapes=(sizes,))
