"""The validation loss: image by image it is that of training, and how a set is shared changes nothing but rounding."""

import numpy as np
import pytest
import torch

from data.images.geometry import letterbox, place_boxes
from data.loading.config import DataConfig
from data.loading.loader import Loader
from data.shards.index import ShardIndex
from launch.processes.environment import Environment
from train.evaluation.config import EvaluateConfig
from train.evaluation.evaluator import Evaluator
from train.evaluation.validation_loss import LossSums, mean_of_shares
from train.loss import LossConfig, Losses, build_loss
from train.model import YOLOv2
from train.schedule.learning_rate import ScheduleConfig
from train.stepping.config import StepConfig
from train.stepping.step import Step

SIDE = 96


def truths_by_hand(index: ShardIndex, sample: int) -> torch.Tensor:
    """[1, T, 5] as the region loss takes them: neither difficult objects nor crowds."""
    objects = index.objects(sample)
    trained = ~(index.arrays["difficult"] | index.arrays["crowd"])[objects]
    boxes_px = index.arrays["boxes_xyxy_px"][objects][trained].astype(np.float32)
    x1, y1, x2, y2 = place_boxes(boxes_px, letterbox(*index.size_px(sample), SIDE), SIDE).T
    labels = index.arrays["labels"][objects][trained]
    return torch.tensor(np.stack([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, labels], 1))[None].float()


def test_it_is_the_mean_of_what_each_image_costs(index: ShardIndex) -> None:
    torch.manual_seed(0)
    model = YOLOv2(len(index.classes), 2, width=1 / 16)
    loss = build_loss(LossConfig(), [(1.0, 1.0), (2.0, 2.0)], len(index.classes))
    step = Step(StepConfig(precision="fp32"), ScheduleConfig(), model, loss, Environment())
    data = DataConfig(train="", val="", workers=0, batch=8, truth_slots=20)
    loader = Loader(index, data, seed=0, rank=0, world_size=1, device=torch.device("cpu"))
    evaluation = Evaluator(EvaluateConfig(side=SIDE, batch=4, pictures=0), loader, Environment())(step)
    assert evaluation is not None and evaluation.losses is not None
    costs = []
    for batch in loader.evaluation_batches(SIDE, 1):
        sample = int(batch.samples[0])
        truths = truths_by_hand(index, sample)
        costs.append(torch.stack(list(loss.terms(step.predict(batch.images), truths))).double())
        assert float(costs[-1][Losses._fields.index("truths")]) == truths.shape[1]
    expected = Losses(*torch.stack(costs).mean(0).unbind())
    torch.testing.assert_close(evaluation.losses, expected, rtol=1e-5, atol=1e-7)
    means = dict(evaluation.means())
    assert means["val/loss"] == pytest.approx(float(expected.total), rel=1e-5)
    assert means["val/Avg IOU"] == pytest.approx(float(expected.as_darknet["Avg IOU"]), rel=1e-5)


def test_processes_with_unequal_shares_count_by_their_images() -> None:
    loss = build_loss(LossConfig(), [(1.0, 1.0)], 3)
    raw, truths = torch.randn(5, 8, 3, 3), torch.tensor([[[0.5, 0.5, 0.3, 0.3, 1.0]]]).repeat(5, 1, 1)
    whole, shares = LossSums(), [LossSums(), LossSums(), LossSums()]
    whole.add(loss, raw, truths)
    shares[0].add(loss, raw[:1], truths[:1])
    shares[1].add(loss, raw[1:], truths[1:])  # and the third process has no image
    torch.testing.assert_close(mean_of_shares(shares), mean_of_shares([whole]), rtol=1e-6, atol=1e-8)
