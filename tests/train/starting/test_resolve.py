"""What a config leaves open until its set is known."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from data.anchors import average_iou, cluster, sizes_cells
from data.shards.index import ShardIndex
from launch.processes.environment import Environment
from tests.train.checking.test_plan import config_of
from train.config import VOC_ANCHORS, Config, save
from train.run.checkpoint import Checkpoint
from train.run.checkpoint_files import write
from train.schedule.duration import RunLength
from train.schedule.progress import Progress
from train.starting.build import build_step
from train.starting.resolve import resolved
from train.stepping.config import fast_precision
from train.stepping.step import Step


def test_anchors_are_clusters_of_the_set_at_the_side_of_evaluation(
    tmp_path: Path, shards: Path, index: ShardIndex, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_of(tmp_path, shards, "evaluate.side=224")
    found = resolved(config, index, Environment())
    sizes = sizes_cells(index, 224, "letterbox")
    np.testing.assert_allclose(np.reshape(found.anchors, (5, 2)), cluster(sizes, 5), atol=1e-4)
    assert average_iou(sizes, np.reshape(found.anchors, (5, 2))) > 0.8
    assert resolved(found, index, Environment()) == found == resolved(config, index, Environment())
    assert "anchors=auto: " in capsys.readouterr().err
    assert resolved(replace(config, anchors=[1, 1]), index, Environment()).anchors == [1, 1]


def save_checkpoint(config: Config, index: ShardIndex) -> Step:
    """The step of a run that has saved its first checkpoint."""
    env = Environment()
    step = build_step(config, index.classes, RunLength(53, 2), env)
    folder, network = Path(config.run) / "checkpoints", config.network(index.classes)
    checkpoint = Checkpoint(folder, config.checkpoint, env, network, step=step, at=Progress())
    checkpoint.save(0)
    checkpoint.wait()
    return step


def test_a_run_with_checkpoints_keeps_their_anchors(tmp_path: Path, shards: Path, index: ShardIndex) -> None:
    """Though the set, or the side at which it is evaluated, has changed since."""
    env, config = Environment(), config_of(tmp_path, shards, "model.width=0.0625")
    first = resolved(config, index, env)
    save_checkpoint(first, index)
    changed = replace(config, evaluate=replace(config.evaluate, side=96))
    assert resolved(changed, index, env).anchors == first.anchors
    for images, state in enumerate(({}, {"network": 5}, {"network": {}}, {"network": {"anchors": 5}}), start=1):
        write(Path(first.run) / "checkpoints", state, images, best=False, keep=9)
    assert resolved(changed, index, env).anchors == first.anchors
    elsewhere = replace(changed, run=str(tmp_path / "other"))
    assert resolved(elsewhere, index, env).anchors != first.anchors


def test_a_run_with_checkpoints_keeps_its_precision(
    tmp_path: Path, shards: Path, index: ShardIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it resumes on a machine that is faster in another."""
    env, config = Environment(), config_of(tmp_path, shards, "model.width=0.0625")
    assert config.step.precision == "auto"
    monkeypatch.setattr("train.stepping.config.CPU_INFO", tmp_path / "none")
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: True)
    first = resolved(config, index, env)
    assert first.step.precision == "bf16"
    assert save_checkpoint(first, index).dtype == torch.bfloat16
    save(first, tmp_path / "run/config.yaml")
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False)
    assert resolved(config, index, env).step.precision == "bf16"
    assert resolved(replace(config, run=str(tmp_path / "other")), index, env).step.precision == "fp32"
    asked = replace(config, step=replace(config.step, precision="fp16"))
    assert resolved(asked, index, env).step.precision == "fp16"


@pytest.mark.parametrize(("native", "precision"), [(True, "bf16"), (False, "fp16")])
def test_a_gpu_without_bf16_of_its_own_takes_fp16(
    native: bool, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert fast_precision(torch.device("cuda")) == precision


@pytest.mark.parametrize(
    ("about", "amx", "precision"),
    [
        ("vendor_id : AuthenticAMD\nflags : avx512f avx512_bf16", False, "bf16"),
        ("vendor_id : AuthenticAMD\nflags : avx2", False, "fp32"),
        ("vendor_id : GenuineIntel\nflags : avx512f avx512_bf16", False, "fp32"),
        ("vendor_id : GenuineIntel\nflags : avx512_bf16 amx_tile", True, "bf16"),
        (None, False, "fp32"),
    ],
)
def test_a_cpu_takes_bf16_where_that_is_faster(
    about: str | None, amx: bool, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if about is not None:
        (tmp_path / "cpuinfo").write_text(about)
    monkeypatch.setattr("train.stepping.config.CPU_INFO", tmp_path / "cpuinfo")
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: amx)
    assert fast_precision(torch.device("cpu")) == precision


def test_a_set_with_too_few_sizes_gets_the_published_anchors(tmp_path: Path, shards: Path, index: ShardIndex) -> None:
    arrays = {**index.arrays, "boxes_xyxy_px": np.zeros_like(index.arrays["boxes_xyxy_px"])}
    config = config_of(tmp_path, shards)
    assert resolved(config, replace(index, arrays=arrays), Environment()).anchors == VOC_ANCHORS


def test_slots_are_as_many_as_the_fullest_image_needs(tmp_path: Path, shards: Path, index: ShardIndex) -> None:
    config = config_of(tmp_path, shards)
    assert config.data.truth_slots == "auto" and config.data.num_slots == 50
    slots = resolved(config, index, Environment()).data.truth_slots
    assert isinstance(slots, int) and slots % 8 == 0 and 0 <= slots - index.trained_per_image().max() < 8
