"""The optimizer of a step, with state that is whole from the start."""

import torch
from torch import nn

from train.stepping.config import StepConfig


def build_optimizer(config: StepConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Fused SGD as darknet's. The rate is 0 until a schedule sets it."""
    optimizer = torch.optim.SGD(_groups(model, config.decay), lr=0.0, momentum=config.momentum, fused=True)
    for parameter in model.parameters():
        # torch leaves the buffers of a fused SGD unwritten when fp16 scaling skips the very first step
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def _groups(model: nn.Module, decay: float) -> list[dict[str, object]]:
    """Decay acts on convolution weights alone (darknet update_convolutional_layer)."""
    return [
        {"params": [p for p in model.parameters() if p.ndim == 4], "weight_decay": decay},
        {"params": [p for p in model.parameters() if p.ndim != 4], "weight_decay": 0.0},
    ]
