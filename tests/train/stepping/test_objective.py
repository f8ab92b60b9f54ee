"""Gradients travel during backward, also where the step is compiled: what a step around DDP cannot be asked."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

TWO = """
import time
import torch.distributed as dist
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from launch.processes.environment import connect, leave
from tests.train.stepping.test_step import *

compile_module = torch.nn.Module.compile  # the front of the compiler decides where graphs end
torch.nn.Module.compile = lambda self, **given: compile_module(self, backend="aot_eager", **given)
torch.set_num_threads(1)
ready = []

def note(state, bucket):
    ready.append(time.perf_counter())
    return allreduce_hook(dist.group.WORLD, bucket)

with connect() as env:
    small = small_step()
    model = YOLOv2(3, 2, width=1 / 4)  # 12.7 MB of gradients
    config = StepConfig(precision="fp32", bucket_mb=2, compile="{compile}")
    step = Step(config, small.schedule, model, small.loss, env)
    step.objective.register_comm_hook(None, note)
    warm_up(step, iter([batch_of(2, 160)]), no_stop(step))
    shares = []
    for number in range(3):
        ready.clear()
        step.objective.zero_grad()
        total, _ = step.objective(*batch_of(2, 160)[:1], None, batch_of(2, 160).truths, torch.tensor(0))
        began = time.perf_counter()
        total.backward()
        ended = time.perf_counter()
        shares.append([(each - began) / (ended - began) for each in ready])
    if env.rank == 0:
        print(len(shares[-1]), min(each[0] for each in shares), min(each[len(each) // 2] for each in shares))
leave()
"""


@pytest.mark.slow
@pytest.mark.parametrize("compiled", ["no", "yes"])
def test_buckets_leave_long_before_backward_ends(tmp_path: Path, compiled: str) -> None:
    """A graph that gave all its gradients at its end would hand every bucket over there."""
    (tmp_path / "two.py").write_text(TWO.replace("{compile}", compiled))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, str(tmp_path / "two.py")], cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    number, first, middle = done.stdout.split()
    assert int(number) >= 5 and float(first) < 0.4 and float(middle) < 0.8, done.stdout
