"""Builds what a process builds before its first step, over torch's fake process group."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch.distributed as dist

from data.loading.loader import Loader
from data.remote.addresses import is_remote
from data.shards.index import ShardIndex
from data.sources.drawn_picture import CLASSES
from launch.processes.environment import Environment
from train.checking.report import Report
from train.config import Config
from train.evaluation.evaluator import Evaluator
from train.run.checkpoint import Checkpoint
from train.schedule.duration import RunLength
from train.schedule.progress import Progress
from train.starting.build import build_step
from train.starting.room import for_board, for_checkpoints, lacking, num_bytes, require_one


@contextmanager
def stand_in(processes: int) -> Iterator[Environment]:
    """Rank 0 of `processes`: what it sends goes nowhere, and nothing ever arrives."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if processes > 1:
        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=processes)
    try:
        yield Environment(0, processes, launcher="stand-in")
    finally:
        if processes > 1:
            dist.destroy_process_group()


def build(
    config: Config, train: ShardIndex | None, val: ShardIndex | None, env: Environment, report: Report
) -> Progress:
    """Builds what a process builds, restores the newest checkpoint, returns the run's progress. config: resolved."""
    index = train or val
    classes = index.classes if index else tuple(config.data.classes or CLASSES)
    if config.weights and is_remote(config.weights):
        report.say("weights", "will be fetched at the start")
        config = dataclasses.replace(config, weights=None)
    config = dataclasses.replace(config, step=dataclasses.replace(config.step, compile="no"))
    run = RunLength(index.num_samples if index else 1, config.epochs)
    step = build_step(config, classes, run, env)
    numbers = sum(each.numel() for each in step.model.parameters())
    report.say("network", f"{config.model.variant}, {numbers:,} parameters, recipe {config.recipe}")
    if val:
        Evaluator(config.evaluate, Loader(val, config.data, seed=0, rank=0, world_size=1, device=env.device), env)
    folder, progress = Path(config.run) / "checkpoints", Progress()
    size = num_bytes(step.state_dict())
    with report.part("disk"):
        report.need(for_checkpoints(config, size))
        require_one(folder, size)
    Checkpoint(folder, config.checkpoint, env, config.network(classes), step=step, progress=progress).restore()
    for remark in lacking([for_board(config, run, progress.images, len(classes))]):
        report.say("remark", remark)
    return progress
