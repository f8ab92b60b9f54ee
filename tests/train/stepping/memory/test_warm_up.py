"""The warm-up: it leaves no trace, finds the parts that fit, and lets a resumed run sum in the order of the first."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from launch.processes.environment import Environment
from tests.conftest import ROOT
from tests.train.stepping.test_step import batch_of, no_stop, parameters, small_step
from train.stepping.memory.warm_up import predicted_memory, warm_up
from train.stepping.step import Step


def test_warm_up_leaves_everything_as_it_was() -> None:
    step, fresh = small_step(), small_step()
    random_before = torch.get_rng_state()
    warm_up(step, iter([batch_of(2, 96), batch_of(2, 64)]), no_stop(step))
    assert torch.equal(torch.get_rng_state(), random_before)
    for (name, ours), theirs in zip(step.model.state_dict().items(), fresh.model.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name
    step(batch_of(2), 0)
    fresh(batch_of(2), 0)
    assert torch.equal(parameters(step), parameters(fresh))


RESUMED = """
import copy
from launch.processes.environment import connect, leave
from tests.train.stepping.memory.test_warm_up import *
from train.model import YOLOv2

with connect() as env:

    def step_of():
        small = small_step(accumulate=2)
        model = YOLOv2(3, 2, width=1 / 4)  # large enough for several buckets
        step = Step(small.config, small.schedule, model, small.loss, env)
        warm_up(step, iter([batch_of(2)]), no_stop(step))
        return step

    def train(step, numbers):
        for number in numbers:
            step(batch_of(2, seed=10 * number + env.rank), 20_000 + 8 * number)

    torch.manual_seed(0)
    whole = step_of()
    train(whole, range(2))
    kept = copy.deepcopy(whole.state_dict())
    train(whole, range(2, 4))
    resumed = step_of()
    resumed.load_state_dict(kept)
    train(resumed, range(2, 4))
    same = torch.equal(parameters(whole), parameters(resumed))
    if env.rank == 0:
        print("same bits" if same else "other bits")
leave()
"""


@pytest.mark.slow
def test_a_resumed_run_of_four_processes_sums_in_the_order_of_the_first(tmp_path: Path) -> None:
    """DDP orders its buckets anew after the first backward pass. Without the warm-up this fails (torch 2.13)."""
    (tmp_path / "four.py").write_text(RESUMED)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, str(tmp_path / "four.py")], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == "same bits\n", done.stderr[-3000:]


class Small:
    """An objective that finds no memory for more than so many images at once."""

    def __init__(self, step: Step, most: int) -> None:
        self.objective, self.most, self.tried = step.objective, most, list[int]()

    def __call__(self, images: torch.Tensor, *others: torch.Tensor) -> object:
        self.tried.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("no memory left")
        return self.objective(images, *others)


def test_parts_are_the_fewest_that_fit() -> None:
    step, fresh = small_step(accumulate="auto"), small_step(accumulate=4)
    step.objective = small = Small(step, 3)  # type: ignore[assignment]
    warm_up(step, iter([batch_of(8, 96)]), no_stop(step))
    assert (step.parts, step.images_at_once) == (4, 2) and small.tried[:3] == [8, 4, 2]
    step(batch_of(8), 0)
    fresh(batch_of(8), 0)
    assert torch.equal(parameters(step), parameters(fresh))


def test_parts_that_do_not_fit_end_the_warm_up_with_what_to_do() -> None:
    step = small_step(accumulate=2)
    step.objective = Small(step, 3)  # type: ignore[assignment]
    message = r"memory for 4 images of 96 px at once, found too little \(no memory left\); set step\.accumulate=auto"
    with pytest.raises(ValueError, match=message):
        warm_up(step, iter([batch_of(8, 96)]), no_stop(step))


def test_parts_are_cut_before_memory_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    step = small_step(accumulate="auto")
    room = predicted_memory(step, batch_of(8, 96), 4).total / 0.9
    monkeypatch.setattr(Environment, "memory", lambda self: room)
    step.objective = small = Small(step, 8)  # type: ignore[assignment]
    warm_up(step, iter([batch_of(8, 96)]), no_stop(step))
    assert step.parts == 4 and set(small.tried) == {2}
    monkeypatch.setattr(Environment, "memory", lambda self: 1000)
    with pytest.raises(ValueError, match=r"room for one image of 96 px at once, found 0\.0 GB"):
        warm_up(small_step(accumulate="auto"), iter([batch_of(8, 96)]), no_stop(step))


def test_a_resumed_run_keeps_its_parts_or_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    first = small_step(accumulate="auto")
    first.objective = Small(first, 2)  # type: ignore[assignment]
    warm_up(first, iter([batch_of(8)]), no_stop(first))
    first(batch_of(8), 0)
    state = first.state_dict()
    capsys.readouterr()
    larger = small_step(accumulate="auto")
    larger.load_state_dict(state)
    warm_up(larger, iter([batch_of(8)]), no_stop(larger))
    assert larger.parts == 4 and "WARNING" not in capsys.readouterr().err
    smaller = small_step(accumulate="auto")
    smaller.objective = Small(smaller, 1)  # type: ignore[assignment]
    smaller.load_state_dict(state)
    warm_up(smaller, iter([batch_of(8)]), no_stop(smaller))
    assert smaller.parts == 8 and "WARNING: 1 image at once, 2 before this start" in capsys.readouterr().err
