"""The optimizer of a step: parameter groups with their rates and decay, and state that is complete from the start."""

from collections.abc import Mapping
from typing import Any

import torch

from train.model import YOLOv2
from train.stepping.config import StepConfig

FACTOR = "rate_factor"  # key of a group: its rate as a multiple of the schedule's
KINDS = {"sgd": {"momentum_buffer"}, "adamw": {"step", "exp_avg", "exp_avg_sq"}}  # what is kept of each parameter


class AnotherOptimizer(ValueError):
    """Checkpoint and config disagree: the user's choice, not a defect of the file."""


def build_optimizer(config: StepConfig, model: YOLOv2, backbone_rate: float) -> torch.optim.Optimizer:
    """Fused SGD like darknet's, or fused AdamW. The rate is 0 until a schedule sets it."""
    groups = _groups(model, config.decay, backbone_rate)
    optimizer: torch.optim.Optimizer
    if config.optimizer == "adamw":
        first, second = config.betas
        optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(first, second), eps=config.eps, fused=True)
    else:
        optimizer = torch.optim.SGD(groups, lr=0.0, momentum=config.momentum, fused=True)
    for parameter in model.parameters():
        optimizer.state[parameter] = _first_state(config, parameter)
    return optimizer


def num_moments(config: StepConfig) -> int:
    """Numbers that the optimizer keeps for each weight."""
    return 2 if config.optimizer == "adamw" else 1


def _first_state(config: StepConfig, parameter: torch.Tensor) -> dict[str, torch.Tensor]:
    """Zero state: torch leaves the buffers of a fused SGD unwritten if the very first step is skipped."""
    if config.optimizer == "sgd":
        return {"momentum_buffer": torch.zeros_like(parameter)}
    moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
    return {"step": torch.zeros((), device=parameter.device), **moments}


def _groups(model: YOLOv2, decay: float, backbone_rate: float) -> list[dict[str, Any]]:
    """Parameter groups. Only convolution weights decay (darknet update_convolutional_layer).

    The order of the parameters does not depend on the rates, because saved state is matched by it.
    """
    backbone = set(model.backbone.parameters())
    return [
        {
            "params": [p for p in model.parameters() if (p.ndim == 4) == decayed and (p in backbone) == in_backbone],
            "weight_decay": decay if decayed else 0.0,
            FACTOR: backbone_rate if in_backbone else 1.0,
        }
        for decayed in (True, False)
        for in_backbone in (True, False)
    ]


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group[FACTOR]


def load_state(optimizer: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
    """Loads moments from a checkpoint; rates, momentum and decay come from this start's config.

    ValueError unless there is one of each kind and shape for every parameter; `AnotherOptimizer` for another's.
    """
    here = optimizer.state_dict()
    there, expected = (
        {name for state in states.values() for name in state} for states in (saved["state"], here["state"])
    )
    if there != expected and there in KINDS.values():
        was = next(name for name, kinds in KINDS.items() if kinds == there)
        raise AnotherOptimizer(
            f"the checkpoint was trained with step.optimizer={was}, the config says another; set it to {was} (recipe="
            f"{'darknet' if was == 'sgd' else 'scratch'}), or choose another `run`"
        )
    if _shapes(saved["state"]) != _shapes(here["state"]):
        raise ValueError("its moments are not those of this network's parameters")
    optimizer.load_state_dict({**saved, "param_groups": here["param_groups"]})


def _shapes(state: Mapping[int, Mapping[str, torch.Tensor]]) -> dict[int, dict[str, torch.Size]]:
    return {number: {name: tensor.shape for name, tensor in kept.items()} for number, kept in state.items()}
