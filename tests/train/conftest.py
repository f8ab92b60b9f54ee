"""A trained network that says the same of every image."""

from pathlib import Path

import pytest
import torch

from data.loading.config import DataConfig
from launch.processes.environment import Environment
from tests.conftest import Weights
from train.config import Config, save
from train.model import ModelConfig, build_model
from train.run.checkpoint import Checkpoint, CheckpointConfig


@pytest.fixture
def trained_run(tmp_path: Path) -> Path:
    """A run folder whose network sees a ring of one cell's size in the middle of every image."""
    config = Config(
        run=str(tmp_path),
        data=DataConfig(train="", val=""),
        anchors=[2.0, 2.0],
        model=ModelConfig(variant="tiny-voc", width=1 / 16),
    )
    classes = ("circle", "ring")
    model = build_model(config.model, 2, 1)
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.copy_(torch.tensor([0.0, 0, 0, 0, 4.0, -5.0, 5.0]))
    save(config, tmp_path / "config.yaml")
    checkpoint = Checkpoint(
        tmp_path / "checkpoints", CheckpointConfig(), Environment(), config.network(classes), step=Weights(model)
    )
    checkpoint.save(64, best=True)
    checkpoint.wait()
    return tmp_path
