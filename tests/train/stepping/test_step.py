"""The step: decay groups, accumulation, warm-up, precisions, and that processes are only another way to accumulate."""

import copy
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from data.images.colour import Colour
from data.images.geometry import stretch
from data.images.on_device import distort_colours, layout_row
from data.loading.batch import Batch
from launch.processes.environment import Environment
from launch.processes.stop import Stop
from tests.conftest import ROOT
from train.loss import LossConfig, build_loss
from train.model import YOLOv2
from train.schedule.learning_rate import ScheduleConfig
from train.stepping.config import StepConfig
from train.stepping.memory.warm_up import warm_up
from train.stepping.step import Step, num_graphs

ANCHORS = [(1.0, 1.0), (2.0, 2.0)]


def small_step(layers: str | None = None, **options: object) -> Step:
    torch.manual_seed(0)
    model = YOLOv2(3, 2, width=1 / 16) if layers is None else YOLOv2(3, 2, layers=layers)
    backbone_rate = options.pop("backbone_rate", 1.0)
    schedule = ScheduleConfig(rate=1e-3, burn_in_images=0, drop_images=[], backbone_rate=backbone_rate)  # type: ignore[arg-type]
    config = StepConfig(**{"precision": "fp32", **options})  # type: ignore[arg-type]
    return Step(config, schedule, model, build_loss(LossConfig(), ANCHORS, 3), Environment())


def batch_of(count: int, side: int = 64, seed: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8, generator=generator)
    truths = torch.rand(count, 3, 5, generator=generator) * 0.8 + 0.1
    truths[..., 4] = torch.tensor([0.0, 2.0, -1.0])
    return Batch(images, truths, torch.arange(count), [], images.shape[1])


def parameters(step: Step) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in step.model.parameters()])


def set_scale(step: Step, scale: float) -> None:
    """Scale of fp16; without effect in other precisions."""
    if step.scaler.is_enabled():
        step.scaler.load_state_dict({**step.scaler.state_dict(), "scale": scale})


def test_an_accumulated_step_is_the_mean_of_its_parts() -> None:
    whole = small_step(accumulate=2, decay=0.0, momentum=0.0)
    start = parameters(whole)
    batch = batch_of(4)
    whole(batch, 20_000)
    moved = []
    for part in (slice(0, 2), slice(2, 4)):
        single = small_step(decay=0.0, momentum=0.0)
        single(Batch(batch.images[part], batch.truths[part], batch.samples[part], [], batch.side), 20_000)
        moved.append(parameters(single) - start)
    torch.testing.assert_close(parameters(whole) - start, (moved[0] + moved[1]) / 2, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_follows_float32(precision: str) -> None:
    exact, lower = small_step(), small_step(precision=precision)
    batch = batch_of(4, 160)
    first = [step(batch, 20_000).total.item() for step in (exact, lower)]
    assert first[1] == pytest.approx(first[0], rel=0.05)
    for _ in range(20):  # fp16 begins with a scale that is too large and skips several, how many depends on the CPU
        lower(batch, 20_000)
    assert lower(batch, 20_000).total < 0.5 * first[1]
    assert all(p.dtype == torch.float32 and p.isfinite().all() for p in lower.model.parameters())


def test_compiled_and_eager_agree() -> None:
    torch._dynamo.reset()
    eager, compiled = small_step(), small_step()
    objective = copy.copy(compiled.objective)
    compiled.objective = torch.compile(objective, fullgraph=True, backend="aot_eager")  # type: ignore[assignment]
    for _ in range(2):
        mine, theirs = compiled(batch_of(2), 0), eager(batch_of(2), 0)
        torch.testing.assert_close(torch.stack(list(mine)), torch.stack(list(theirs)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(parameters(compiled), parameters(eager), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_norms_are_of_the_whole_gradient_and_of_all_weights(precision: str) -> None:
    step, fresh = small_step(precision=precision, accumulate=2), small_step(precision=precision)
    start = parameters(fresh)
    set_scale(step, 16)
    step(batch_of(4), 20_000)
    for part in (slice(0, 2), slice(2, 4)):
        raw = fresh.model(batch_of(4).images[part].float().permute(0, 3, 1, 2) / 255)
        (fresh.loss(raw, batch_of(4).truths[part], torch.tensor(20_000)) / 2).backward()
    expected = torch.cat([p.grad.flatten() for p in fresh.model.parameters() if p.grad is not None]).norm()
    norms = step.norms()
    torch.testing.assert_close(norms.gradient, expected, rtol=1e-4 if precision == "fp32" else 0.05, atol=0)
    torch.testing.assert_close(norms.weights, parameters(step).norm(), rtol=1e-5, atol=0)
    assert not torch.equal(norms.weights, start.norm())


FEW_LAYERS = "4 pool 4 pool 8 pool 8 pool 8 pool -8"


@pytest.fixture
def one_thread() -> Iterator[None]:
    """For a thousand tiny steps: threads would spend their time waiting for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def compiled_step(monkeypatch: pytest.MonkeyPatch, **options: object) -> Step:
    """Compile with the compiler's front alone, which decides about graphs; its back would take minutes on a CPU."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **given: compile_module(self, backend="aot_eager", **given)
    )
    return small_step(FEW_LAYERS, compile="yes", **options)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"recompute": True}], ids=str)
def test_a_graph_for_each_side_and_none_in_a_thousand_steps_after(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], one_thread: None, options: dict[str, object]
) -> None:
    sides = [32 * cells for cells in (range(10, 0, -1) if not options else range(3, 0, -1))]
    step = compiled_step(monkeypatch, **options)
    warm_up(step, iter([batch_of(4, side) for side in sides]), no_stop(step))
    assert num_graphs() == len(sides)
    generator = torch.Generator().manual_seed(0)
    batches = {side: batch_of(4, side) for side in sides}
    for number in range(1000 if not options else 50):
        side = sides[int(torch.randint(0, len(sides), (), generator=generator))]
        step(batches[side], 64 * number)
        if number % 100 == 0:  # evaluation is not compiled, and has another batch size
            step.predict(batch_of(3, 96).images)
    assert num_graphs() == len(sides) and not capsys.readouterr().err
    step(batch_of(4, 352), 0)
    assert num_graphs() == len(sides) + 1
    assert "WARNING: the step was compiled again" in capsys.readouterr().err


@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_loss_curves_are_the_eager_ones(monkeypatch: pytest.MonkeyPatch, recompute: bool) -> None:
    eager = small_step(FEW_LAYERS)
    compiled = compiled_step(monkeypatch, recompute=recompute)
    for number in range(20):
        batch = batch_of(4, 64, seed=number % 3)
        ours, theirs = compiled(batch, 20_000), eager(batch, 20_000)
        assert float(ours.total) == pytest.approx(float(theirs.total), rel=0.02), number
    for name, statistic in eager.model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert torch.equal(compiled.model.state_dict()[name], statistic)


def test_geometry_may_be_left_to_the_step() -> None:
    batch = batch_of(4)
    rows = [layout_row(number * 64 * 64 * 3, 64, stretch(64, 64, 64)) for number in range(4)]
    ours, theirs = small_step(accumulate=2), small_step(accumulate=2)
    ours(batch._replace(images=batch.images.flatten(), layout=torch.tensor(rows)), 20_000)
    theirs(batch, 20_000)
    assert torch.equal(parameters(ours), parameters(theirs))


def test_colours_may_be_left_to_the_step() -> None:
    batch, step = batch_of(4), small_step()
    colours = torch.tensor([Colour(0.05 * number, 1.2, 0.9) for number in range(4)])
    losses = step(batch._replace(colours=colours), 20_000)
    fresh = small_step()
    raw = fresh.model(distort_colours(batch.images.float() / 255, colours).permute(0, 3, 1, 2))
    expected = fresh.loss.terms(raw, batch.truths, torch.tensor(20_000))
    torch.testing.assert_close(torch.stack(list(losses)), torch.stack(list(expected)))
    assert not torch.equal(losses.total, small_step()(batch, 20_000).total)


@pytest.mark.slow
def test_two_processes_are_another_way_to_accumulate(tmp_path: Path) -> None:
    """Equal gradients, so equal weights; and equal batch-norm statistics on both processes."""
    script = tmp_path / "two.py"
    script.write_text(
        textwrap.dedent(
            """
            from launch.processes.environment import connect, leave
            from tests.train.stepping.test_step import *

            with connect() as env:
                alone, step = small_step(accumulate=2), small_step()
                step = Step(step.config, step.schedule, step.model, step.loss, env)
                warm_up(step, iter([batch_of(2, 160)]), Stop(ROOT / "no-run", env))
                for number in range(3):
                    batch = batch_of(4, 160, seed=number)
                    if number == 1:
                        batch.truths[:2, :, 4] = -1  # one process without any truth
                    mine = slice(2 * env.rank, 2 * env.rank + 2)
                    step(Batch(batch.images[mine], batch.truths[mine], batch.samples[mine], [], batch.side), 20_000)
                    alone(batch, 20_000)
                torch.testing.assert_close(parameters(step), parameters(alone), rtol=1e-4, atol=1e-6)
                statistics = env.broadcast(step.statistics)
                assert all(torch.equal(ours, first) for ours, first in zip(step.statistics, statistics, strict=True))
                assert torch.equal(step.norms().gradient, env.broadcast(step.norms().gradient))
                shrunk = small_step(compress="fp16")
                shrunk = Step(shrunk.config, shrunk.schedule, shrunk.model, shrunk.loss, env)
                before = parameters(shrunk)
                exact = small_step(accumulate=2)
                batch = batch_of(4, 160)
                shrunk(Batch(batch.images[mine], batch.truths[mine], batch.samples[mine], [], batch.side), 20_000)
                exact(batch, 20_000)
                moved, expected = parameters(shrunk) - before, parameters(exact) - before
                assert 0 < (moved - expected).norm() < 2e-3 * expected.norm()
                try:
                    Step(StepConfig(compress="bf16"), step.schedule, step.model, step.loss, env)
                    raise AssertionError("gloo took bf16")
                except ValueError as error:
                    assert "choose fp16 or none" in str(error)
            leave()
            """
        )
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]


def no_stop(step: Step) -> Stop:
    return Stop(ROOT / "no-run", step.env)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_recomputing_changes_nothing(precision: str) -> None:
    plain, recomputing = small_step(precision=precision), small_step(precision=precision, recompute=True)
    for number in range(2):
        mine, theirs = recomputing(batch_of(4, seed=number), 0), plain(batch_of(4, seed=number), 0)
        assert torch.equal(torch.stack(list(mine)), torch.stack(list(theirs)))
        assert torch.equal(recomputing.norms().gradient, plain.norms().gradient)
    ours = recomputing.model.state_dict()
    for name, tensor in plain.model.state_dict().items():  # statistics and their number of batches too
        assert torch.equal(ours[name], tensor), name
    assert torch.equal(recomputing.predict(batch_of(2).images), plain.predict(batch_of(2).images))
