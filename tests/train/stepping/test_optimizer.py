"""Optimizers: groups, updates against their definitions, state that is whole from the start and comes back."""

import copy
from typing import Any

import pytest
import torch

from tests.train.stepping.test_step import batch_of, parameters, set_scale, small_step
from train.stepping.optimizer import FACTOR
from train.stepping.step import Step


def gradients_of(step: Step, seed: int) -> list[torch.Tensor]:
    """Gradients of the next step, as a copy of it would have them."""
    other = copy.deepcopy(step)
    other.accumulate(batch_of(4, seed=seed), 20_000, 1)
    return [p.grad.double() for p in other.model.parameters() if p.grad is not None]


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_only_convolution_weights_decay(optimizer: str) -> None:
    groups = small_step(optimizer=optimizer).optimizer.param_groups
    decayed = [p for group in groups if group["weight_decay"] == 5e-4 for p in group["params"]]
    others = [p for group in groups if group["weight_decay"] == 0 for p in group["params"]]
    assert all(p.ndim == 4 for p in decayed) and all(p.ndim == 1 for p in others)
    assert len(decayed) == 23 and len(others) == 22 * 2 + 1


def test_adamw_is_that_of_its_definition() -> None:
    """Decoupled decay: Loshchilov and Hutter, arXiv 1711.05101, algorithm 2."""
    step = small_step(optimizer="adamw", decay=0.02, betas=[0.8, 0.9], eps=1e-7)
    weights = [p.detach().double() for p in step.model.parameters()]
    first, second = [torch.zeros_like(w) for w in weights], [torch.zeros_like(w) for w in weights]
    for number in range(1, 4):
        for place, gradient in enumerate(gradients_of(step, number)):
            first[place] = 0.8 * first[place] + 0.2 * gradient
            second[place] = 0.9 * second[place] + 0.1 * gradient**2
            decay = 0.02 * (weights[place].ndim == 4)
            moved = first[place] / (1 - 0.8**number) / ((second[place] / (1 - 0.9**number)).sqrt() + 1e-7)
            weights[place] = weights[place] - 1e-3 * (moved + decay * weights[place])
        step(batch_of(4, seed=number), 20_000)
    found = torch.cat([p.detach().flatten() for p in step.model.parameters()]).double()
    torch.testing.assert_close(found, torch.cat([w.flatten() for w in weights]), rtol=1e-4, atol=2e-5)


def test_the_backbone_may_have_a_rate_of_its_own() -> None:
    slow, plain = small_step(backbone_rate=0.1, decay=0.0), small_step(decay=0.0)
    start = {name: p.detach().clone() for name, p in plain.model.named_parameters()}
    slow(batch_of(4), 20_000)
    plain(batch_of(4), 20_000)
    theirs = dict(plain.model.named_parameters())
    for name, ours in slow.model.named_parameters():
        factor = 0.1 if name.startswith("backbone") else 1.0
        torch.testing.assert_close(ours - start[name], factor * (theirs[name] - start[name]), rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_moments_are_zeros_even_if_the_first_step_is_skipped(optimizer: str, precision: str) -> None:
    step = small_step(optimizer=optimizer, precision=precision)
    before = copy.deepcopy(step.optimizer.state_dict()["state"])
    assert all(not tensor.any() for state in before.values() for tensor in state.values())
    set_scale(step, 2.0**120)
    batch = batch_of(4)
    if precision == "fp32":
        next(iter(step.model.parameters())).data.fill_(float("inf"))
    step(batch, 20_000)
    after = step.optimizer.state_dict()["state"]
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key][name], after[key][name]) for key in before for name in before[key])


def test_momentum_and_decay_are_those_of_the_config_after_a_resume() -> None:
    first = small_step()
    first(batch_of(4), 20_000)
    resumed = small_step(momentum=0.5, decay=0.1, backbone_rate=0.5)
    resumed.load_state_dict(first.state_dict())
    groups = resumed.optimizer.param_groups
    assert {(g["momentum"], g["weight_decay"], g[FACTOR]) for g in groups} == {
        (0.5, 0.1, 0.5), (0.5, 0.1, 1.0), (0.5, 0.0, 0.5), (0.5, 0.0, 1.0)
    }  # fmt: skip
    for ours, theirs in zip(first.model.parameters(), resumed.model.parameters(), strict=True):
        momentum = [step.optimizer.state[p]["momentum_buffer"] for step, p in ((first, ours), (resumed, theirs))]
        assert torch.equal(*momentum)


def test_another_optimizer_than_the_checkpoints_is_refused() -> None:
    with pytest.raises(ValueError, match=r"trained with step\.optimizer=sgd, .*recipe=darknet"):
        small_step(optimizer="adamw").load_state_dict(small_step().state_dict())


@pytest.mark.parametrize("odd", [{}, {"momentum_buffer": torch.zeros(3)}, {"momentum_buffer": None}])
def test_moments_that_are_missing_or_of_another_shape_are_refused(odd: dict[str, Any]) -> None:
    """torch would take them, and write beyond their memory."""
    state = small_step().state_dict()
    state["optimizer"]["state"][0] = odd
    with pytest.raises((ValueError, AttributeError), match=r"moments are not those|'NoneType' object has no"):
        small_step().load_state_dict(state)


def test_a_run_may_change_to_fp16() -> None:
    first, resumed = small_step(), small_step(precision="fp16")
    resumed.load_state_dict(first.state_dict())
    set_scale(resumed, 16)
    resumed(batch_of(4), 20_000)
    assert not torch.equal(parameters(first), parameters(resumed))
