"""Builds what a process needs before its first step: the network with its first weights, the loss and the step."""

from collections.abc import Sequence
from pathlib import Path

import torch

from launch.processes.environment import Environment
from train.config import Config
from train.loss import build_loss
from train.model import build_model
from train.run.checkpoint_files import has_checkpoints
from train.schedule.duration import RunLength
from train.stepping.step import Step
from train.weights.initial import load_initial_weights


def _require_trained_backbone(new: Sequence[str], checkpoints: Path, env: Environment) -> None:
    """ValueError if a frozen backbone would be random. new: convolutions that `weights` did not fill."""
    random = [name for name in new if name.startswith("backbone")]
    if random and not env.on_rank_0(lambda: has_checkpoints(checkpoints)):
        raise ValueError(
            f"step.freeze=backbone: expected weights= that fill it, found none for {', '.join(random)}; frozen random "
            "numbers learn nothing: name trained weights, or do not freeze the backbone"
        )


def build_step(config: Config, classes: tuple[str, ...], run: RunLength, env: Environment) -> Step:
    """The step. Its weights, random by the seed or from `weights`, are equal on all processes. config: resolved."""
    torch.manual_seed(config.seed)  # the data has its own randomness
    model = build_model(config.model, len(classes), config.num_anchors, steps=run.images // config.data.batch)
    checkpoints, new = Path(config.run) / "checkpoints", ["backbone"]
    if config.weights:
        new = load_initial_weights(
            config.weights, model, config.network(classes), checkpoints, env, config.data.staging
        )
    if config.step.freeze == "backbone":
        _require_trained_backbone(new, checkpoints, env)
    loss = build_loss(config.loss, config.anchor_pairs, len(classes))
    return Step(config.step.in_images(run), config.schedule.in_images(run), model, loss, env)
