"""A trainer as reimplementations of YOLOv2 usually write it, for comparison in `benchmarks.peers`.

The network and the loss are the project's: the same value, the same gradient (tests/benchmarks/test_plain_loop.py). The
rest is plain: a DataLoader makes float tensors, channels first; targets come from a loop over images and objects on the
CPU; the terms of the loss are read after every step; SGD is torch's default one. Nothing is slow on purpose: what such
loops do on whole tensors is done on whole tensors here, and on a GPU workers make the batches.
"""

import os
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from train.loss import LossConfig
from train.schedule.learning_rate import ScheduleConfig, learning_rate

Objects = list[tuple[float, float, float, float, int]]  # of an image: cx cy w h as fractions, class
Sample = tuple[NDArray[np.uint8], Objects]  # [S, S, 3]


class PlainLoss:
    """[B, A*(5+C), H, W] raw output and the objects of each image -> the six terms of the loss, means over images."""

    def __init__(self, anchors: Sequence[tuple[float, float]], num_classes: int, config: LossConfig) -> None:
        self.anchors, self.num_classes, self.config = anchors, num_classes, config

    def __call__(self, raw: torch.Tensor, objects: Sequence[Objects], seen: int) -> torch.Tensor:
        batch, _, height, width = raw.shape
        raw = raw.float().view(batch, len(self.anchors), 5 + self.num_classes, height, width)
        x, y, confidence = raw[:, :, 0].sigmoid(), raw[:, :, 1].sigmoid(), raw[:, :, 4].sigmoid()
        w, h = raw[:, :, 2], raw[:, :, 3]
        boxes = self.boxes(x.detach(), y.detach(), w.detach(), h.detach()).cpu()
        mine, others, weight, goals, ious, labels = (each.to(raw.device) for each in self.targets(boxes, objects))
        logits = raw[:, :, 5:].permute(0, 1, 3, 4, 2)[mine]
        prior = self.config.prior if seen < self.config.prior_images else 0.0
        pulled = (x - 0.5) ** 2 + (y - 0.5) ** 2 + w**2 + h**2
        terms = [
            0.5 * self.config.coord * (weight * ((x - goals[0]) ** 2 + (y - goals[1]) ** 2)).sum(),
            0.5 * self.config.coord * (weight * ((w - goals[2]) ** 2 + (h - goals[3]) ** 2)).sum(),
            0.5 * self.config.object * (mine * (confidence - ious) ** 2).sum(),
            0.5 * self.config.noobject * (others * confidence**2).sum(),
            self.config.classes * functional.cross_entropy(logits, labels[mine], reduction="sum"),
            0.5 * prior * (~mine * pulled).sum(),
        ]
        return torch.stack(terms) / batch

    def boxes(self, x: torch.Tensor, y: torch.Tensor, w: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        """[B, A, H, W, 4] cx cy w h as fractions."""
        height, width = x.shape[2:]
        columns, rows = torch.arange(width, device=x.device), torch.arange(height, device=x.device)[:, None]
        anchors = torch.tensor(self.anchors, device=x.device)[:, :, None, None]
        size = (w.exp() * anchors[:, 0] / width, h.exp() * anchors[:, 1] / height)
        return torch.stack([(x + columns) / width, (y + rows) / height, *size], -1)

    def targets(
        self, boxes: torch.Tensor, objects: Sequence[Objects]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Targets, object by object: mine, others, weight, goals, ious, labels; [B, A, H, W], goals [4, B, A, H, W]."""
        shape = boxes.shape[:4]
        height, width = shape[2:]
        mine, others = torch.zeros(shape, dtype=torch.bool), torch.ones(shape, dtype=torch.bool)
        weight, ious, goals = torch.zeros(shape), torch.zeros(shape), torch.zeros(4, *shape)
        labels = torch.zeros(shape, dtype=torch.long)
        for image, of_image in enumerate(objects):
            for cx, cy, w, h, label in of_image:
                overlap = iou(boxes[image], cx, cy, w, h)
                others[image] &= overlap <= self.config.ignore_iou
                column, row = min(int(cx * width), width - 1), min(int(cy * height), height - 1)
                shapes = [shape_iou(w * width, h * height, *anchor) for anchor in self.anchors]
                anchor = shapes.index(max(shapes))
                place = (image, anchor, row, column)
                mine[place], labels[place] = True, int(label)
                weight[place], ious[place] = 2 - w * h, overlap[anchor, row, column]
                goals[0][place], goals[1][place] = cx * width - column, cy * height - row
                goals[2][place] = np.log(w * width / self.anchors[anchor][0])
                goals[3][place] = np.log(h * height / self.anchors[anchor][1])
        return mine, others & ~mine, weight, goals, ious, labels


def iou(boxes: torch.Tensor, cx: float, cy: float, w: float, h: float) -> torch.Tensor:
    """IoU of [..., 4] boxes with one."""
    left = (boxes[..., 0] - boxes[..., 2] / 2).clamp(min=cx - w / 2)
    top = (boxes[..., 1] - boxes[..., 3] / 2).clamp(min=cy - h / 2)
    right = (boxes[..., 0] + boxes[..., 2] / 2).clamp(max=cx + w / 2)
    bottom = (boxes[..., 1] + boxes[..., 3] / 2).clamp(max=cy + h / 2)
    overlap = (right - left).clamp(min=0) * (bottom - top).clamp(min=0)
    return overlap / (boxes[..., 2] * boxes[..., 3] + w * h - overlap)


def shape_iou(w: float, h: float, other_w: float, other_h: float) -> float:
    overlap = min(w, other_w) * min(h, other_h)
    return overlap / (w * h + other_w * other_h - overlap)


class FloatImages(Dataset[tuple[torch.Tensor, Objects]]):
    """[3, S, S] in 0..1 and its objects, from the same samples every time."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, number: int) -> tuple[torch.Tensor, Objects]:
        image, objects = self.samples[number % len(self.samples)]
        return torch.from_numpy(image).permute(2, 0, 1).float().div(255), objects


def collate(pairs: Sequence[tuple[torch.Tensor, Objects]]) -> tuple[torch.Tensor, list[Objects]]:
    return torch.stack([image for image, _ in pairs]), [objects for _, objects in pairs]


def plain_batches(samples: Sequence[Sample], device: torch.device) -> Iterator[tuple[torch.Tensor, list[Objects]]]:
    """Batches with all samples each. On a CPU without workers, which would take cores from training."""
    on_gpu = device.type == "cuda"
    workers = min(8, os.cpu_count() or 1) if on_gpu else 0
    loader = DataLoader(FloatImages(samples), len(samples), num_workers=workers, collate_fn=collate, pin_memory=on_gpu)
    return iter(loader)


class PlainLoop:
    """`loop(images, objects, images_seen)` trains on one batch and returns the terms of its loss as numbers."""

    def __init__(self, model: nn.Module, loss: PlainLoss, device: torch.device, *, amp: bool = False) -> None:
        """amp: use torch's mixed precision, bf16, and channels_last."""
        self.layout = torch.channels_last if amp else torch.contiguous_format
        self.model = model.to(device).to(memory_format=self.layout)  # type: ignore[call-overload]
        self.loss, self.device, self.amp = loss, device, amp
        self.optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=0.9, weight_decay=5e-4)
        torch.backends.cudnn.benchmark = True

    def __call__(self, images: torch.Tensor, objects: Sequence[Objects], images_seen: int) -> list[float]:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(images_seen + len(images), ScheduleConfig())
        images = images.to(self.device, memory_format=self.layout, non_blocking=True)
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            raw = self.model(images)
        terms = self.loss(raw, objects, images_seen)
        terms.sum().backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return [term.item() for term in terms]
