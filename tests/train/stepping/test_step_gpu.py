"""On a GPU: darknet's gradients, compiled against eager, convergence in half precision, resume, memory, no waiting.

`pytest -m gpu` runs these and others that need a device. Copies beside the step:
tests/data/loading/handover/test_to_device.py.
"""

import copy
import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from data.loading.batch import Batch
from data.loading.config import DataConfig
from data.loading.loader import Loader
from data.shards.index import ShardIndex
from launch.processes.environment import Environment
from launch.processes.stop import Stop
from tests.conftest import ROOT
from tests.train.stepping.test_step import ANCHORS, batch_of
from tests.train.test_loss import darknet_loss
from train.loss import LossConfig, build_loss
from train.model import YOLOv2
from train.schedule.learning_rate import ScheduleConfig
from train.stepping.config import StepConfig
from train.stepping.memory.warm_up import predicted_memory, warm_up
from train.stepping.step import Step, num_graphs

pytestmark = pytest.mark.gpu
DEVICE = torch.device("cuda")
SIDES = (96, 64)


def step_on_device(width: float = 1 / 8, num_classes: int = 3, variant: str = "yolov2", **options: object) -> Step:
    torch.manual_seed(0)
    model = YOLOv2(num_classes, 2, variant=variant, width=width, bn_momentum=0.1)  # type: ignore[arg-type]
    schedule = ScheduleConfig(rate=1e-3, burn_in_images=0, drop_images=[])
    loss = build_loss(LossConfig(), ANCHORS, num_classes)
    return Step(StepConfig(**options), schedule, model, loss, Environment(device=DEVICE))  # type: ignore[arg-type]


def on_device(batch: Batch) -> Batch:
    return batch._replace(images=batch.images.to(DEVICE), truths=batch.truths.to(DEVICE))


def no_stop(step: Step) -> Stop:
    return Stop(ROOT / "no-run", step.env)


@pytest.fixture
def exact() -> Iterator[None]:
    """float32 without TF32, algorithms that repeat."""
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = True, False
    yield
    torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("case", ["voc", "coco"])
def test_gradients_equal_darknets(shared: Path, case: str) -> None:
    golden = np.load(shared / "golden/darknet" / f"region_{case}.npz")
    logits = torch.from_numpy(golden["logits"]).to(DEVICE).requires_grad_()
    truths = torch.from_numpy(golden["truths"]).float()
    truths[..., 4] = torch.where((truths[..., 0] != 0).cumprod(1).bool(), truths[..., 4], -1)
    loss = darknet_loss([(float(w), float(h)) for w, h in golden["anchors"]], logits.shape[1] // 5 - 5).to(DEVICE)
    (loss(logits, truths.to(DEVICE), torch.tensor(12_800, device=DEVICE)) * logits.shape[0]).backward()
    expected = torch.from_numpy(golden["grad_seen12800"])
    assert logits.grad is not None
    assert (logits.grad.cpu() - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.timeout(900)
def test_compiled_is_eager_and_compiles_each_side_once(exact: None, capsys: pytest.CaptureFixture[str]) -> None:
    torch._dynamo.reset()
    before = num_graphs()
    eager, compiled = (step_on_device(precision="fp32", compile=how) for how in ("no", "yes"))
    warm_up(compiled, (batch_of(4, side) for side in SIDES), no_stop(compiled))
    assert num_graphs() - before == len(SIDES)
    for number in range(40):
        batch = on_device(batch_of(4, SIDES[number // 10 % 2], seed=number % 3))
        ours, theirs = compiled(batch, 20_000), eager(batch, 20_000)
        assert float(ours.total) == pytest.approx(float(theirs.total), rel=0.05), number
    assert num_graphs() - before == len(SIDES) and "WARNING" not in capsys.readouterr().err


@pytest.mark.timeout(900)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_learns_drawn_pictures(index: ShardIndex, precision: str) -> None:
    """As the demo does, for 60 epochs of 53 pictures; and about as well as float32."""
    reached = []
    for each in (precision, "fp32"):
        step = step_on_device(1 / 4, len(index.classes), "tiny-voc", precision=each, compile="no")
        config = DataConfig(train="", val="", batch=16, sides=[192], workers=0)
        loader = Loader(index, config, seed=0, rank=0, world_size=1, device=DEVICE)
        totals = [step(batch, 16 * number).total for number, batch in enumerate(loader.batches(0, 60 * 53))]
        assert all(total.isfinite() for total in totals)
        reached.append(float(torch.stack(totals[-20:]).mean() / torch.stack(totals[:3]).mean()))
    assert reached[0] < 0.5
    assert reached[0] == pytest.approx(reached[1], rel=0.25)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_resumed_step_goes_on_as_if_nothing_had_been(exact: None, precision: str) -> None:
    options: dict[str, object] = {"precision": precision, "compile": "no", "accumulate": 2, "ema_images": 16}
    whole = step_on_device(**options)
    state = {}
    for number in range(8):
        whole(on_device(batch_of(4, seed=number)), 4 * number)
        if number == 3:
            state = copy.deepcopy(whole.state_dict())
    resumed = step_on_device(**options)
    resumed.load_state_dict(state)
    for number in range(4, 8):
        resumed(on_device(batch_of(4, seed=number)), 4 * number)
    assert whole.ema is not None and resumed.ema is not None
    for ours, theirs in ((resumed.model, whole.model), (resumed.ema.model, whole.ema.model)):
        expected = theirs.state_dict()
        for name, tensor in ours.state_dict().items():
            torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.parametrize("recompute", [False, True])
def test_memory_at_608_px_is_as_predicted(recompute: bool) -> None:
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    step = step_on_device(1.0, 20, precision="bf16", compile="no", recompute=recompute)
    batch = on_device(batch_of(8, 608))
    step(batch, 0)
    torch.cuda.reset_peak_memory_stats()
    step(batch, 8)
    peak = torch.cuda.max_memory_allocated() - before
    # workspaces of cuDNN are not predicted
    assert peak == pytest.approx(predicted_memory(step, batch, 1).total, rel=0.15)


def test_a_run_finds_its_parts_before_memory_ends() -> None:
    gc.collect()
    torch.cuda.empty_cache()
    step = step_on_device(1.0, 20, precision="bf16", compile="no", accumulate="auto")
    batch = batch_of(8, 608)
    free, total = torch.cuda.mem_get_info()
    limit = predicted_memory(step, batch, 2).total + 2e9
    if limit >= free:
        pytest.skip(f"expected {limit / 1e9:.0f} GB free")
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit / total))
    try:
        warm_up(step, iter([batch]), no_stop(step))
        assert step.parts is not None
        assert step(on_device(batch), 0).total.isfinite()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("how", ["no", "yes"])
def test_no_step_waits_for_the_device(precision: str, how: str) -> None:
    step = step_on_device(precision=precision, compile=how, accumulate=2, ema_images=64)
    batch = on_device(batch_of(4, 64))
    warm_up(step, iter([batch_of(4, 64)]), no_stop(step))
    step(batch, 0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        for number in range(1, 4):
            step(batch, 4 * number)
            step.norms()
    finally:
        torch.cuda.set_sync_debug_mode("default")
