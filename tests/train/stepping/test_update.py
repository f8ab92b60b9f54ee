"""Updates: gradients are clipped by their norm, and steps that are not finite leave no trace."""

import pytest
import torch

from tests.train.stepping.test_step import batch_of, parameters, set_scale, small_step
from train.stepping.step import Step


def state_of(step: Step) -> dict[str, torch.Tensor]:
    """All that a step changes, but the counters of batches."""
    flat = {f"model {name}": tensor for name, tensor in step.model.state_dict().items() if "num_batches" not in name}
    for key, state in step.optimizer.state_dict()["state"].items():
        flat |= {f"{key} {name}": tensor for name, tensor in state.items()}
    if step.ema:
        flat |= {f"average {name}": tensor for name, tensor in step.ema.state_dict().items()}
    return {name: tensor.clone() for name, tensor in flat.items()}


class Spoiled:
    """An objective whose loss and gradients are not finite."""

    def __init__(self, step: Step, value: float) -> None:
        self.objective, self.value = step.objective, value

    def __call__(self, *batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        total, losses = self.objective(*batch)
        return total * self.value, losses * self.value


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_the_gradient_is_clipped_by_its_norm(optimizer: str, precision: str) -> None:
    """With plain gradients a step is as long as the limit says; AdamW is asked for its first moment."""
    options = {"optimizer": optimizer, "precision": precision, "decay": 0.0, "momentum": 0.0}
    step = small_step(**options, clip_norm=0.5)
    set_scale(step, 16)
    before = parameters(step)
    step(batch_of(4), 20_000)
    norm = step.norms().gradient
    assert norm > 5
    if optimizer == "sgd":
        length = (parameters(step) - before).norm() / 1e-3
    else:
        moments = [step.optimizer.state[p]["exp_avg"].flatten() for p in step.model.parameters()]
        length = torch.cat(moments).norm() / 0.1
    assert float(length) == pytest.approx(0.5, rel=1e-3)
    tally = step.update.tally()
    assert (tally.steps, float(tally.clipped), float(tally.skipped)) == (1, 1, 0)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_limit_that_is_not_reached_changes_no_bit(precision: str) -> None:
    limited, free = small_step(clip_norm=1e6, precision=precision), small_step(precision=precision)
    for step in (limited, free):
        set_scale(step, 16)
        for number in range(3):
            step(batch_of(4, seed=number), 20_000)
    assert torch.equal(parameters(limited), parameters(free)) and float(limited.update.tally().clipped) == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_step_that_is_not_finite_leaves_no_trace(optimizer: str, value: float) -> None:
    step, fine = (small_step(optimizer=optimizer, ema_images=16, clip_norm=10.0) for _ in range(2))
    for each in (step, fine):
        each(batch_of(4), 20_000)
    expected = state_of(step)
    step.objective = Spoiled(step, value)  # type: ignore[assignment]
    assert not step(batch_of(4, seed=2), 20_004).total.isfinite()
    for name, tensor in state_of(step).items():
        assert torch.equal(tensor, expected[name]), name
    tally = step.update.tally()
    assert (tally.steps, float(tally.skipped), float(tally.skipped_in_a_row)) == (2, 1, 1)
    step.objective = step.objective.objective
    for each in (step, fine):  # the next one is as it would have been
        each(batch_of(4, seed=3), 20_008)
    after = state_of(fine)
    assert not [name for name, tensor in state_of(step).items() if not torch.equal(tensor, after[name])]
    assert float(step.update.tally().skipped_in_a_row) == 0


def test_statistics_of_a_forward_pass_that_overflows_are_not_kept() -> None:
    step = small_step()
    statistics = torch.cat(step.statistics).clone()
    next(iter(step.model.parameters())).data.fill_(float("inf"))
    step(batch_of(4), 20_000)
    assert torch.equal(torch.cat(step.statistics), statistics)


def test_a_tally_begins_anew_and_counts_skips_in_a_row_over_it() -> None:
    step = small_step()
    step.objective = Spoiled(step, float("nan"))  # type: ignore[assignment]
    for _ in range(3):
        step(batch_of(4), 20_000)
    assert step.update.tally()[0] == 3
    step(batch_of(4), 20_000)
    tally = step.update.tally()
    assert (tally.steps, float(tally.skipped), float(tally.skipped_in_a_row)) == (1, 1, 4)
