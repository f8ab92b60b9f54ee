"""Detecting on files: boxes come back in the pixels of the image, wrong files end with a clear line."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from data.loader import DataConfig
from launch.environment import Environment
from train.checkpoint import Checkpoint, CheckpointConfig
from train.config import Config, save
from train.detect import load_detector, main
from train.model import ModelConfig, build_model


class Weights:
    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model

    def state_dict(self) -> dict[str, object]:
        return {"model": self.model.state_dict()}

    def load_state_dict(self, state: object) -> None:
        raise NotImplementedError


@pytest.fixture
def run(tmp_path: Path) -> Path:
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


def test_boxes_are_pixels_of_the_image(run: Path) -> None:
    found = load_detector(run)(np.zeros((300, 600, 3), np.uint8), 0.5)
    assert set(found.labels) == {1} and found.scores[0] == pytest.approx(0.982, abs=0.01)
    middle = np.abs(found.boxes_xyxy.reshape(-1, 2, 2).mean(1) - (300, 150)).sum(1).argmin()
    # 2 cells of 32 px on an input of 416 px that holds 600: 64 * 600 / 416
    np.testing.assert_allclose(found.boxes_xyxy[middle], [254, 104, 346, 196], atol=1)
    assert found.boxes_xyxy.min() >= 0 and found.boxes_xyxy[:, 2].max() <= 600 and found.boxes_xyxy[:, 3].max() <= 300


def test_pictures_are_drawn_and_listed(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "grey.png"
    cv2.imwrite(str(picture), np.full((200, 200, 3), 128, np.uint8))
    main([str(run), str(picture), "--out", str(tmp_path / "out")])
    drawn = cv2.imread(str(tmp_path / "out/grey.jpg"))
    assert drawn.shape == (200, 200, 3) and drawn.std() > 10
    assert "ring" in capsys.readouterr().out


def test_wrong_files_end_with_a_clear_line(run: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    with pytest.raises(SystemExit, match=r"text\.jpg does not decode: neither JPEG nor another known image format"):
        main([str(run), str(text)])
    with pytest.raises(SystemExit, match="no config at"):
        main([str(tmp_path / "elsewhere"), str(text)])
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(SystemExit, match="no checkpoint under"):
        main([str(run), str(text)])
