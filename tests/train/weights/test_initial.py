"""First weights of a run are read once in its life, the same on every process."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from launch.processes.environment import Environment
from tests.conftest import launch
from train.darknet.weights import save_weights
from train.model import YOLOv2
from train.run.checkpoint_files import newest, read
from train.weights.initial import load_initial_weights

NETWORK = {"classes": ["a", "b"], "anchors": [1, 1, 2, 2]}


def tiny() -> YOLOv2:
    return YOLOv2(2, 2, variant="tiny-voc", width=1 / 16)


def test_what_was_taken_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there, here = tiny(), tiny()
    save_weights(there, tmp_path / "net.weights", convolutions=7)
    load_initial_weights(f"{tmp_path}/net.weights", here, NETWORK, tmp_path / "checkpoints", Environment())
    said = capsys.readouterr().err.splitlines()
    assert "7 of 9 convolutions, in darknet's order (SHA-256 " in said[0] and len(said) == 2
    assert said[1] == "weights: new: neck.0, output"
    assert torch.equal(here.backbone.coarse[0].conv.weight, there.backbone.coarse[0].conv.weight)


def test_a_run_with_checkpoints_needs_no_first_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="weights=/nowhere: no such file"):
        load_initial_weights("/nowhere", tiny(), NETWORK, tmp_path, Environment())
    (tmp_path / "000000064-0123456789abcdef.pt").touch()
    load_initial_weights("/nowhere", tiny(), NETWORK, tmp_path, Environment())


class SecondNode(Environment):
    """A process whose file is not the one that rank 0 read."""

    def on_rank_0(self, work: Callable[[], Any]) -> Any:
        found = work()
        return "0" * 64 if isinstance(found, str) else found


def test_other_bytes_than_those_of_rank_0_are_refused(tmp_path: Path) -> None:
    save_weights(tiny(), tmp_path / "net.weights")
    with pytest.raises(ValueError, match=r"net\.weights: expected the bytes that rank 0 read, SHA-256 0000"):
        load_initial_weights(f"{tmp_path}/net.weights", tiny(), NETWORK, tmp_path / "checkpoints", SecondNode())


@pytest.mark.slow
def test_two_processes_start_with_the_bits_of_the_file_and_resume_without_it(shards: Path, tmp_path: Path) -> None:
    there = YOLOv2(6, 5, variant="tiny-voc", width=1 / 16)
    save_weights(there, tmp_path / "net.weights")
    config = tmp_path / "small.yaml"
    config.write_text(
        f"""
        epochs: 1
        run: {tmp_path}/run
        data: {{train: {shards}/train, val: {shards}/val, batch: 8, sides: [64], workers: 0}}
        model: {{variant: tiny-voc, width: 0.0625}}
        step: {{precision: fp32, ema_images: 100}}
        schedule: {{rate: 1.0e-30, burn_in_images: 0, drop_images: []}}
        evaluate: {{side: 64, pictures: 0}}
        """
    )
    launch(str(config), f"weights={tmp_path}/net.weights", processes=2)
    path = newest(tmp_path / "run/checkpoints")
    assert path is not None
    step = read(path)["step"]
    for name, value in there.named_parameters():
        torch.testing.assert_close(step["model"][name], value.detach())
        torch.testing.assert_close(step["ema"][name], value.detach())
    (tmp_path / "net.weights").unlink()
    launch(str(config), f"weights={tmp_path}/net.weights", "epochs=2", processes=2)
