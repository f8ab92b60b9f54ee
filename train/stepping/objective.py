"""The function that a step differentiates, from pixel bytes to the loss, and DDP around it.

B images  S side of the input in px  T truth slots
"""

import inspect
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from data.images.on_device import distort_colours
from launch.processes.environment import Environment
from train.loss import YOLOv2Loss
from train.model import YOLOv2

Compression = Literal["none", "fp16", "bf16"]


class Objective(nn.Module):
    """Model and loss as one module, so that DDP and the compiler see both."""

    def __init__(self, model: YOLOv2, loss: YOLOv2Loss, autocast: torch.dtype) -> None:
        super().__init__()
        self.model, self.loss, self.autocast = model, loss, autocast

    def forward(
        self,
        images_BSS3: torch.Tensor,
        colours_B3: torch.Tensor | None,
        truths_BT5: torch.Tensor,
        images_seen: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 RGB -> the loss, and all of `Losses` as one detached vector."""
        raw = predict(self.model, images_BSS3, self.autocast, colours_B3)
        losses = self.loss.terms(raw, truths_BT5, images_seen)  # float32: outside autocast
        return losses.total, torch.stack(list(losses)).detach()


def predict(
    model: YOLOv2, images_BSS3: torch.Tensor, autocast: torch.dtype, colours_B3: torch.Tensor | None = None
) -> torch.Tensor:
    """uint8 RGB images -> raw head output. The permuted view of NHWC pixels is already channels_last."""
    pixels_BSS3 = images_BSS3.float() / 255
    if colours_B3 is not None:
        pixels_BSS3 = distort_colours(pixels_BSS3, colours_B3)
    with torch.autocast(images_BSS3.device.type, autocast, enabled=autocast != torch.float32):
        raw: torch.Tensor = model(pixels_BSS3.permute(0, 3, 1, 2))
    return raw


def data_parallel(objective: Objective, env: Environment, compress: Compression, bucket_mb: int) -> nn.Module:
    """The objective in DDP, which averages gradients over all processes during backward; itself in a single process."""
    if env.world_size == 1:
        return objective
    if compress == "bf16" and env.device.type == "cpu":
        raise ValueError("step.compress=bf16: expected GPUs, gloo cannot add bf16; choose fp16 or none")
    options: dict[str, Any] = {"gradient_as_bucket_view": True, "bucket_cap_mb": bucket_mb}
    renamed = "forward_sync_buffers" in inspect.signature(DistributedDataParallel.__init__).parameters  # torch 2.13
    options["forward_sync_buffers" if renamed else "broadcast_buffers"] = False  # the step averages statistics exactly
    if env.device.type == "cuda":
        options["device_ids"] = [env.local_rank]
    assert dist.is_initialized()
    distributed = DistributedDataParallel(objective, **options)
    if compress != "none":
        hook = {"fp16": default_hooks.fp16_compress_hook, "bf16": default_hooks.bf16_compress_hook}[compress]
        distributed.register_comm_hook(None, hook)
    return distributed
