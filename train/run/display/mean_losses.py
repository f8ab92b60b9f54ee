"""Averages losses over batches and all processes, with a warning if some were not finite."""

from collections.abc import Sequence

import torch

from launch.processes.agreement import wait_for_device
from launch.processes.environment import Environment
from train.loss import Losses


def mean_losses(batches: Sequence[torch.Tensor], env: Environment, first: int, last: int) -> Losses:
    """Means. batches: the fields of `Losses` as vectors, between positions first and last. Waits for the device.

    Batches with losses that are not finite, which the step skipped, are left out; nan if that is all.
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
    """A warning about loss terms that were not finite between two positions, by rank."""
    who = "; ".join(f"{', '.join(names)} on rank {rank}" for rank, names in names_of_ranks)
    return (
        f"WARNING: loss terms were nan or infinite between images {first} and {last}: {who}; those steps were skipped. "
        "A lower schedule.rate or a longer burn-in may prevent this"
    )
