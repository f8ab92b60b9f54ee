"""A set is evaluated image by image exactly once, and the scores do not depend on the number of processes."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

from data.augment import letterbox, stretch
from data.index import ShardIndex
from data.loader import DataConfig, Loader
from launch.environment import Environment
from tests.conftest import ROOT
from train.evaluate import EvaluateConfig, Evaluator, to_pixels, truths_of
from train.head import Found
from train.metrics import Detections, voc_ap

PREDICTING = """
import json, sys
from pathlib import Path
import torch
from data.loader import DataConfig, Loader
from data.index import ShardIndex
from launch.environment import connect, leave
from launch.stop import Stop
from train.evaluate import EvaluateConfig, Evaluator
from train.loss import LossConfig, build_loss
from train.model import YOLOv2
from train.schedule import ScheduleConfig
from train.step import Step, StepConfig

torch.manual_seed(0)
with connect() as env:
    index = ShardIndex.load(Path(sys.argv[1]))
    loader = Loader(
        index, DataConfig(train="", val="", workers=0, batch=env.world_size), seed=0, rank=env.rank,
        world_size=env.world_size, device=env.device,
    )
    model = YOLOv2(len(index.classes), 2, width=1 / 16)
    with torch.no_grad():
        model.output.bias[4::11] = 2.0  # something to find everywhere
    loss = build_loss(LossConfig(), [(1.0, 1.0), (2.0, 2.0)], len(index.classes))
    step = Step(StepConfig(precision="fp32"), ScheduleConfig(), model, loss, env)
    evaluator = Evaluator(EvaluateConfig(side=96, batch=4, pictures=3), loader, env)
    scores, pictures = evaluator(step, Stop(Path("no-run"), env))
    assert len(pictures) == (3 if env.rank == 0 else 0)
    found = [value.hex() for value in [*scores.ap_area.tolist(), *scores.ap_11point.tolist()]]
    Path(sys.argv[2], f"{env.world_size}-{env.rank}").write_text(json.dumps(found))
leave()
"""


@pytest.mark.slow
def test_scores_are_the_same_bits_at_any_number_of_processes(shards: Path, tmp_path: Path) -> None:
    script = tmp_path / "predict.py"
    script.write_text(textwrap.dedent(PREDICTING))
    found = {}
    for processes in (1, 2, 3):
        start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        done = subprocess.run(
            [sys.executable, *start, str(script), str(shards / "val"), str(tmp_path)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        each = [(tmp_path / f"{processes}-{rank}").read_text() for rank in range(processes)]
        assert len(set(each)) == 1  # the same on every rank
        found[processes] = each[0]
    assert found[1] == found[2] == found[3]


@pytest.mark.parametrize("place", [letterbox, stretch])
def test_truths_sent_through_the_network_frame_and_back_score_one(shards: Path, place: object) -> None:
    index = ShardIndex.load(shards / "val")
    side, parts = 416, []
    for sample in range(index.num_samples):
        objects = index.objects(sample)
        placement = place(*index.size_px(sample), side)  # type: ignore[operator]
        (sx1, sy1, sx2, sy2), (tx1, ty1, tx2, ty2) = placement.source, placement.target
        zoom = np.array([(tx2 - tx1) / (sx2 - sx1), (ty2 - ty1) / (sy2 - sy1)] * 2)
        inside = (index.arrays["boxes_xyxy_px"][objects] * zoom + (tx1, ty1, tx1, ty1)) / side
        labels = index.arrays["labels"][objects].astype(np.int64)
        parts.append(to_pixels(Found(inside, labels, np.ones(len(labels))), sample, placement, index, side))
    truths = truths_of(index)
    scores = voc_ap(Detections.concatenate(parts), truths, len(index.classes))
    assert np.nanmin(scores.ap_area) == np.nanmax(scores.ap_area) == scores.map_11point == 1.0
    np.testing.assert_allclose(Detections.concatenate(parts).boxes_xyxy_px, truths.boxes_xyxy_px, atol=1e-3)


def test_an_image_left_out_is_noticed(shards: Path) -> None:
    index = ShardIndex.load(shards / "val")
    config = DataConfig(train="", val="", workers=0)
    loader = Loader(index, config, seed=0, rank=0, world_size=1, device=torch.device("cpu"))
    evaluator = Evaluator(EvaluateConfig(), loader, Environment())
    evaluator._assert_complete(list(range(index.num_samples)))
    for wrong in (list(range(index.num_samples - 1)), [*range(index.num_samples), 0]):
        with pytest.raises(AssertionError, match="evaluated twice or not at all"):
            evaluator._assert_complete(wrong)


def test_a_side_off_the_stride_is_refused() -> None:
    with pytest.raises(ValueError, match=r"evaluate.side=300: expected a multiple of 32 px"):
        EvaluateConfig(side=300)
