"""Averaged weights: what the average is of, that steps left out do not count, and that it is what evaluation sees."""

import math

import pytest
import torch

from tests.train.stepping.test_step import batch_of, parameters, set_scale, small_step
from train.model import YOLOv2
from train.stepping.ema import Ema
from train.stepping.step import Step, evaluated_weights


def averaged(step: Step) -> torch.Tensor:
    assert step.ema is not None
    return torch.cat([p.flatten() for p in step.ema.model.parameters()])


def test_the_average_is_that_of_its_definition() -> None:
    model = YOLOv2(3, 2, width=1 / 16)
    ema, batch, images = Ema(model, 100), 8, 0
    expected = {name: value.double() for name, value in model.state_dict().items()}
    for _ in range(30):
        for tensor in (*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())):
            tensor.data.normal_()
        images += batch
        decay = math.exp(-batch / min(images, 100))
        for name, value in model.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * value
        ema.update(images, batch, torch.tensor(True))
    for name, value in ema.model.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert not any(p.requires_grad for p in ema.model.parameters()) and not ema.model.training


@pytest.mark.parametrize("batch", [1, 4])
def test_the_weight_of_an_image_fades_by_e_at_any_batch_size(batch: int) -> None:
    model = YOLOv2(3, 2, width=1 / 16)
    for parameter in model.parameters():
        parameter.data.fill_(1.0)
    ema = Ema(model, 100)
    for parameter in model.parameters():
        parameter.data.zero_()
    for step in range(100 // batch):
        ema.update(1000 + batch * (step + 1), batch, torch.tensor(True))
    left = torch.cat([p.flatten() for p in ema.model.parameters()])
    torch.testing.assert_close(left, torch.full_like(left, math.exp(-1)), rtol=1e-4, atol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_evaluation_sees_the_average_and_training_does_not(precision: str) -> None:
    step, plain = small_step(ema_images=16, precision=precision), small_step(precision=precision)
    set_scale(step, 16)
    set_scale(plain, 16)
    for number in range(4):
        step(batch_of(4, seed=number), 4 * number)
        plain(batch_of(4, seed=number), 4 * number)
    assert torch.equal(parameters(step), parameters(plain))
    assert all(torch.equal(a, b) for a, b in zip(step.statistics, plain.statistics, strict=True))
    images = batch_of(2).images
    assert not torch.equal(step.predict(images), plain.predict(images))
    plain.model.load_state_dict(evaluated_weights(step.state_dict()))
    assert torch.equal(step.predict(images), plain.predict(images))
    assert step.model.training


def test_a_step_that_scaling_leaves_out_does_not_count() -> None:
    step = small_step(precision="fp16", ema_images=16)
    set_scale(step, 16)
    step(batch_of(4), 0)
    before, weights = averaged(step), parameters(step)
    set_scale(step, 2.0**120)
    step(batch_of(4), 4)
    assert torch.equal(parameters(step), weights) and torch.equal(averaged(step), before)
    assert not step.norms().gradient.isfinite()
    set_scale(step, 16)
    step(batch_of(4), 8)
    assert not torch.equal(averaged(step), before) and averaged(step).isfinite().all()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_resumed_average_goes_on_with_the_same_bits(precision: str) -> None:
    whole = small_step(ema_images=16, precision=precision)
    set_scale(whole, 16)
    for number in range(6):
        whole(batch_of(4, seed=number), 4 * number)
        if number == 2:
            state = {name: _clone(part) for name, part in whole.state_dict().items()}
    resumed = small_step(ema_images=16, precision=precision)
    resumed.load_state_dict(state)
    for number in range(3, 6):
        resumed(batch_of(4, seed=number), 4 * number)
    assert torch.equal(averaged(whole), averaged(resumed)) and torch.equal(parameters(whole), parameters(resumed))


def test_an_average_may_begin_in_the_middle_of_a_run() -> None:
    plain, step = small_step(), small_step(ema_images=16)
    plain(batch_of(4), 0)
    state = plain.state_dict()
    assert "ema" not in state
    step.load_state_dict(state)
    assert torch.equal(averaged(step), parameters(plain))


def _clone(value: object) -> object:
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _clone(item) for key, item in value.items()}
    return value
