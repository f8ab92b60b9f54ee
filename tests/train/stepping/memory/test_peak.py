"""The predicted memory of a step against what the allocator was asked for."""

import pytest
import torch

from launch.processes.environment import Environment
from tests.train.stepping.test_step import ANCHORS, batch_of
from train.loss import LossConfig, build_loss
from train.model import YOLOv2
from train.schedule.learning_rate import ScheduleConfig
from train.stepping.config import StepConfig
from train.stepping.memory.peak import step_memory
from train.stepping.step import Step


def measured(step: Step, images: int, side: int, parts: int) -> int:
    """Bytes at the peak of forward and backward beside what was there before."""
    batch = batch_of(images, side)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True, acc_events=True) as profile:
        step.accumulate(batch, 0, parts)
    step.optimizer.zero_grad(set_to_none=True)
    assert profile.profiler is not None and profile.profiler.kineto_results is not None
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(
    ("variant", "width", "side", "images", "parts", "precision", "within"),
    [
        ("yolov2", 0.25, 192, 4, 1, "bf16", 0.04),
        ("yolov2", 0.25, 192, 4, 2, "bf16", 0.04),
        ("yolov2", 0.25, 128, 4, 1, "fp32", 0.10),
        ("yolov2", 0.0625, 192, 4, 1, "bf16", 0.04),
        ("tiny-voc", 0.25, 224, 4, 1, "bf16", 0.06),
    ],
)
def test_the_peak_is_as_predicted(
    variant: str, width: float, side: int, images: int, parts: int, precision: str, within: float, recompute: bool
) -> None:
    torch.manual_seed(0)
    config = StepConfig(precision=precision, recompute=recompute)  # type: ignore[arg-type]
    model = YOLOv2(3, 2, variant=variant, width=width)  # type: ignore[arg-type]
    step = Step(config, ScheduleConfig(), model, build_loss(LossConfig(), ANCHORS, 3), Environment())
    predicted = step_memory(
        model, side=side, local=images, parts=parts, dtype=step.dtype, recompute=recompute, truth_slots=3
    )
    peak = measured(step, images, side, parts)
    assert predicted.gradients + predicted.activations == pytest.approx(peak, rel=within + 0.08 * recompute)


def test_weights_are_counted_as_they_are() -> None:
    model = YOLOv2(3, 2, width=1 / 16)
    state = sum(tensor.numel() * 4 for tensor in model.state_dict().values())
    momentum = sum(parameter.numel() * 4 for parameter in model.parameters())
    assert step_memory(model, side=64, local=4).weights == pytest.approx(state + momentum, rel=1e-3)
    adamw = step_memory(model, side=64, local=4, moments=2).weights
    assert adamw == pytest.approx(state + 2 * momentum, rel=1e-3)
    averaged = step_memory(model, side=64, local=4, averaged=True).weights
    assert averaged == pytest.approx(2 * state + momentum, rel=1e-3)


def test_parts_and_recomputing_take_less_and_the_model_may_hold_no_data() -> None:
    with torch.device("meta"):
        model = YOLOv2()
    whole = step_memory(model, side=608, local=64)
    assert step_memory(model, side=608, local=64, recompute=True).activations < 0.6 * whole.activations
    assert step_memory(model, side=608, local=64, parts=4).activations < 0.3 * whole.activations
    assert step_memory(model, side=608, local=64, dtype=torch.float32).activations > 1.6 * whole.activations
    assert step_memory(model, side=608, local=64, distributed=True).gradients == 4 * 50_655_389
    assert 13e9 < whole.total < 14e9
