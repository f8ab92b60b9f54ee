"""The loop that `benchmarks.peers` compares with does the same work: the loss, its gradient, and a step from there."""

from typing import Literal

import numpy as np
import pytest
import torch

from benchmarks.peers import batch_of, drawn_samples
from benchmarks.plain_loop import PlainLoop, PlainLoss, plain_batches
from launch.processes.environment import Environment
from train.loss import LossConfig, build_loss
from train.model import YOLOv2
from train.schedule.learning_rate import ScheduleConfig
from train.stepping.config import StepConfig
from train.stepping.step import Step

ANCHORS = [(0.6, 0.5), (1.0, 1.2), (2.5, 2.0)]
CPU = torch.device("cpu")
Precision = Literal["fp32", "bf16"]


def small_model() -> YOLOv2:
    torch.manual_seed(3)
    return YOLOv2(5, len(ANCHORS), width=1 / 16)


def weights(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


@pytest.mark.parametrize("seen", [0, 12_800])
@pytest.mark.parametrize("side", [96, 160])
def test_the_loss_and_its_gradient_are_ours(seen: int, side: int) -> None:
    """Also with two objects at one place, one on the edge, and an image without any."""
    samples = drawn_samples(5, side, num_classes=5)
    first = samples[0][1][0]
    samples[0][1].append((first[0], first[1], first[2], first[3], (first[4] + 1) % 5))
    samples[1][1].append((1.0, 1.0, 0.3, 0.3, 2))
    samples[2][1].clear()
    plain, ours = small_model(), small_model()
    images, objects = next(plain_batches(samples, CPU))
    with torch.no_grad():  # boxes that do overlap their objects
        for model in (plain, ours):
            model.output.weight *= 0.3
    terms = PlainLoss(ANCHORS, 5, LossConfig())(plain(images), objects, seen)
    terms.sum().backward()
    expected = build_loss(LossConfig(), ANCHORS, 5).terms(ours(images), batch_of(samples).truths, torch.tensor(seen))
    expected.total.backward()
    torch.testing.assert_close(terms, torch.stack(list(expected[:6])), rtol=1e-4, atol=1e-6)
    assert (terms[:5] > 0).all() and (terms[5] > 0) == (seen == 0)
    for (name, theirs), own in zip(plain.named_parameters(), ours.parameters(), strict=True):
        assert theirs.grad is not None and own.grad is not None
        torch.testing.assert_close(theirs.grad, own.grad, rtol=1e-4, atol=1e-5 * own.grad.abs().max().item(), msg=name)


def our_step(precision: Precision) -> Step:
    loss = build_loss(LossConfig(), ANCHORS, 5)
    return Step(StepConfig(precision=precision, compile="no"), ScheduleConfig(), small_model(), loss, Environment())


def test_both_do_the_same_step() -> None:
    samples = drawn_samples(4, 96, num_classes=5)
    ours, plain = our_step("fp32"), PlainLoop(small_model(), PlainLoss(ANCHORS, 5, LossConfig()), CPU)
    before, batches = weights(small_model()), plain_batches(samples, CPU)
    for _ in range(3):
        assert sum(plain(*next(batches), 0)) == pytest.approx(ours(batch_of(samples), 0).total.item(), rel=1e-4)
    # it decays what ours does not, biases and batch norm's parameters; their steps are alike nevertheless
    moved = [weights(model) - before for model in (plain.model, ours.model)]
    assert moved[1].norm() > 0 and (moved[0] - moved[1]).norm() < 0.01 * moved[1].norm()


def test_mixed_precision_rounds_as_ours_does() -> None:
    samples = drawn_samples(4, 96, num_classes=5)
    mixed = PlainLoop(small_model(), PlainLoss(ANCHORS, 5, LossConfig()), CPU, amp=True)
    expected = our_step("bf16")(batch_of(samples), 0).total.item()
    assert sum(mixed(*next(plain_batches(samples, CPU)), 0)) == pytest.approx(expected, rel=1e-4)
    assert next(mixed.model.parameters()).dtype == torch.float32


def test_samples_have_what_photographs_have() -> None:
    samples = drawn_samples(200, 32, num_classes=20)
    counts = [len(objects) for _, objects in samples]
    assert 2 < np.mean(counts) < 3.5 and min(counts) == 1
    boxes = np.array([box for _, objects in samples for box in objects])
    low, high = boxes[:, :2] - boxes[:, 2:4] / 2, boxes[:, :2] + boxes[:, 2:4] / 2
    assert (low >= 0).all() and (high <= 1).all() and set(boxes[:, 4]) == set(range(20))
