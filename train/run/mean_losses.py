"""Losses of some batches as one, over all processes, and a word where there were some that are no numbers."""

from collections.abc import Sequence

import torch

from launch.agreement import wait_for_device
from launch.environment import Environment
from train.loss import Losses


def mean_losses(batches: Sequence[torch.Tensor], env: Environment, first: int, last: int) -> Losses:
    """batches: each the fields of `Losses` as one vector, between the positions first and last. Waits for the device.

    Batches whose losses are not finite were left out by the step, and are here; nan where all were.
    """
    rows = torch.stack(list(batches))
    wait_for_device(env.device)
    rows = rows.cpu()
    finite = rows.isfinite().all(1)
    bad = ~rows.isfinite().all(0)
    mean, anywhere = env.mean(torch.stack([rows[finite].mean(0), bad.float()]).to(env.device)).cpu()
    if anywhere.any():
        own = [name for name, was in zip(Losses._fields, bad.tolist(), strict=True) if was]
        who = [(rank, names) for rank, names in enumerate(env.broadcast(env.gather(own))) if names]
        env.say(bad_terms(who, first, last))
    return Losses(*mean.unbind())


def bad_terms(names_of_ranks: Sequence[tuple[int, Sequence[str]]], first: int, last: int) -> str:
    """A warning: loss terms that were not finite between two positions, by rank."""
    who = "; ".join(f"{', '.join(names)} on rank {rank}" for rank, names in names_of_ranks)
    return (
        f"WARNING: loss terms were nan or infinite between images {first} and {last}: {who}; those steps were left "
        "out. A lower schedule.rate or a longer burn-in keeps it from happening again"
    )
