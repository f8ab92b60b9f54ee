"""What a process builds, over torch's fake process group."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from data.shards.index import ShardIndex
from tests.train.checking.test_plan import config_of
from train.checking.network import build, stand_in
from train.checking.report import Report


@pytest.mark.parametrize("processes", [1, 3])
def test_one_process_stands_in_for_all(processes: int) -> None:
    with stand_in(processes) as env:
        assert (env.rank, env.world_size) == (0, processes) and dist.is_initialized() == (processes > 1)
        assert torch.equal(env.mean(torch.ones(2) * processes), torch.ones(2) * (processes if processes == 1 else 1))
    assert not dist.is_initialized()


@pytest.mark.parametrize("processes", [1, 4])
def test_the_network_is_built_and_its_checkpoints_measured(
    tmp_path: Path, shards: Path, index: ShardIndex, processes: int, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(tmp_path, shards, "model.width=0.0625", "step.ema_images=100", "recipe=darknet")
    report = Report()
    with stand_in(processes) as env:
        assert build(config, index, None, env, report).images == 0
    lines = capsys.readouterr().out
    assert not report.problems and "202,209 parameters" in lines and "checkpoints of 2.4 MB" in lines
