"""What a process builds before its first step: the network with its first weights, the loss and the step."""

from pathlib import Path

import torch

from launch.environment import Environment
from train.config import Config
from train.loss import build_loss
from train.model import build_model
from train.stepping.duration import RunLength
from train.stepping.step import Step
from train.weights.start import start_from


def build_step(config: Config, classes: tuple[str, ...], run: RunLength, env: Environment) -> Step:
    """config: settled. The weights are the same on every process: drawn by its seed, or those of `weights`."""
    torch.manual_seed(config.seed)  # the data has its own randomness
    model = build_model(config.model, len(classes), config.num_anchors, steps=run.images // config.data.batch)
    if config.weights:
        checkpoints = Path(config.run) / "checkpoints"
        start_from(config.weights, model, config.network(classes), checkpoints, env, config.data.staging)
    loss = build_loss(config.loss, config.anchor_pairs, len(classes))
    return Step(config.step.in_images(run), config.schedule.in_images(run), model, loss, env)
