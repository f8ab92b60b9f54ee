"""A frozen backbone stays as it is, bit for bit, in weights and statistics, and costs no memory in backward."""

from pathlib import Path

import pytest
import torch

from tests.conftest import launch
from tests.train.stepping.memory.test_peak import measured
from tests.train.stepping.test_step import ANCHORS, batch_of, small_step
from train.darknet.weights import save_weights
from train.loss import LossConfig, build_loss
from train.model import YOLOv2
from train.run.checkpoint import read
from train.run.checkpoint_files import newest
from train.stepping.memory.peak import step_memory
from train.stepping.step import Step


def changed(step: Step, before: dict[str, torch.Tensor], averaged: bool = False) -> set[str]:
    """Top-level parts of the network of which anything is no longer what it was."""
    model = step.ema.model if averaged and step.ema else step.model
    return {
        name.partition(".")[0] for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])
    }


@pytest.mark.parametrize(
    "options", [{}, {"recompute": True, "accumulate": 2}, {"optimizer": "adamw", "clip_norm": 1.0}]
)
def test_nothing_of_it_moves_and_everything_else_does(options: dict[str, object]) -> None:
    step = small_step(freeze="backbone", ema_images=20, **options)
    before = {name: tensor.clone() for name, tensor in step.model.state_dict().items()}
    for number in range(3):
        step(batch_of(4, seed=number), 4 * number)
        step.predict(batch_of(1).images)
    rest = {"neck", "bottleneck", "fused", "output"}
    assert changed(step, before) == rest and changed(step, before, averaged=True) == rest
    assert step.model.neck.training and not step.model.backbone.training


def test_it_sees_a_picture_as_in_evaluation() -> None:
    """The statistics of a frozen network are those it was trained with, not those of a batch."""
    step = small_step(freeze="backbone")
    images = torch.rand(4, 3, 64, 64)
    with torch.no_grad():
        alone = step.model.backbone(images[:1])[1]
        torch.testing.assert_close(alone, step.model.backbone(images)[1][:1])


def test_a_resumed_run_may_set_it_free() -> None:
    frozen, free = small_step(freeze="backbone"), small_step()
    frozen(batch_of(4), 0)
    free.load_state_dict(frozen.state_dict())
    before = {name: tensor.clone() for name, tensor in free.model.state_dict().items()}
    free(batch_of(4), 4)
    assert "backbone" in changed(free, before)


@pytest.mark.parametrize(("width", "within"), [(0.25, 0.15), (0.0625, 0.1)])
def test_memory_is_saved_and_predicted(width: float, within: float) -> None:
    torch.manual_seed(0)
    model = YOLOv2(3, 2, width=width)
    options = small_step(freeze="backbone", precision="bf16")
    step = Step(options.config, options.schedule, model, build_loss(LossConfig(), ANCHORS, 3), options.env)
    about = {"side": 192, "local": 4, "dtype": step.dtype, "truth_slots": 3}
    predicted, free = step_memory(model, **about), step_memory(YOLOv2(3, 2, width=width), **about)  # type: ignore[arg-type]
    peak = measured(step, 4, 192, 1)
    assert predicted.gradients + predicted.activations == pytest.approx(peak, rel=within)
    assert peak < 0.6 * (free.gradients + free.activations)


@pytest.mark.slow
def test_two_processes_keep_the_bits_of_the_file(shards: Path, tmp_path: Path) -> None:
    there = YOLOv2(6, 5, width=1 / 16)
    for name, buffer in there.named_buffers():
        if "running" in name:
            torch.nn.init.uniform_(buffer, 0.5, 1.5)
    save_weights(there, tmp_path / "net.weights")
    config = tmp_path / "small.yaml"
    config.write_text(
        f"""
        epochs: 1
        run: {tmp_path}/run
        data: {{train: {shards}/train, val: {shards}/val, batch: 8, sides: [64], workers: 0}}
        model: {{width: 0.0625}}
        step: {{precision: fp32, ema_images: 100, freeze: backbone}}
        schedule: {{rate: 1.0e-3, burn_in_images: 0, drop_images: []}}
        evaluate: {{side: 64, pictures: 0}}
        """
    )
    refused = launch(str(config), check=False)
    assert refused.returncode and "step.freeze=backbone: expected weights= that fill it" in refused.stderr
    launch(str(config), f"weights={tmp_path}/net.weights", processes=2)
    path = newest(tmp_path / "run/checkpoints")
    assert path is not None
    state = read(path)["step"]
    for name, value in there.backbone.state_dict().items():
        assert torch.equal(state["model"][f"backbone.{name}"], value)
        assert torch.equal(state["ema"][f"backbone.{name}"], value)
    assert not torch.equal(state["model"]["neck.0.conv.weight"], there.neck[0].conv.weight)
