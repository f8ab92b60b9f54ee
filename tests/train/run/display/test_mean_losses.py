"""Means of losses; tests/train/run/display/test_board.py has them as a run shows them."""

import torch

from launch.processes.environment import Environment
from tests.train.run.display.test_board import losses
from train.run.display.mean_losses import bad_terms, mean_losses


def test_a_mean_leaves_out_what_is_no_number() -> None:
    batches = [torch.stack(list(losses(value))) for value in (1.0, 3.0, float("nan"))]
    assert float(mean_losses(batches, Environment(), 0, 24).xy) == 2


def test_bad_terms_are_named_with_their_ranks() -> None:
    told = bad_terms([(0, ["wh", "xy"]), (3, ["prior"])], 8, 16)
    assert "between images 8 and 16: wh, xy on rank 0; prior on rank 3; those steps were skipped" in told
