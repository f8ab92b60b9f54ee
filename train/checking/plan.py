"""Plans the batches of every rank in one process, and predicts how long they will take."""

from functools import partial
from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data.loading.loader import Loader
from data.shards.index import ShardIndex
from data.wording import counted, duration_text
from launch.processes.environment import CPU
from train.config import Config

SPEED = "speed/images_per_s"  # in a run's TensorBoard log


def require_whole_shares(config: Config, processes: int) -> None:
    """ValueError if a batch cannot be divided equally among processes and the parts of a step."""
    batch, parts = config.data.batch, config.step.accumulate
    parts = 1 if parts == "auto" else int(parts)
    if batch % (processes * parts):
        raise ValueError(
            f"data.batch={batch} over {counted(processes, 'process')} and step.accumulate={parts} leaves a remainder; "
            f"use a multiple of {processes * parts} or change the number of processes"
        )


def loaders_of_all_ranks(index: ShardIndex, config: Config, processes: int) -> list[Loader]:
    """A loader for each rank, all with one order, which is computed only once."""
    one = partial(Loader, index, config.data, seed=config.seed, world_size=processes, device=CPU)
    loaders = [one(rank=rank) for rank in range(processes)]
    for loader in loaders:
        loader.order = loaders[0].order
    return loaders


def check_plans(loaders: list[Loader], images: int, config: Config) -> str:
    """Checks the current epoch and the run's last step as each rank plans them; returns a summary."""
    order, batch, ranks = loaders[0].order, config.data.batch, len(loaders)
    last = config.epochs * order.num_samples
    epoch = min(images // order.num_samples, config.epochs - 1)
    start = epoch * order.num_samples
    times = np.zeros(order.num_samples, np.uint8)
    for step in zip(*(loader.plans(start, start + order.num_samples) for loader in loaders), strict=True):
        assert len({plan.side for plan in step}) == 1, "ranks differ in a side"
        samples, epochs = (np.concatenate(parts) for parts in zip(*(plan[:2] for plan in step), strict=True))
        np.add.at(times, samples[epochs == epoch], 1)
    last_steps = [list(loader.plans((last - 1) // batch * batch, last)) for loader in loaders]  # with its own order
    assert (times == 1).all(), f"epoch {epoch}: an image comes twice or not at all"
    assert len({(len(plans), plans[0].side) for plans in last_steps}) == 1, "ranks differ in their last step"
    return (
        f"{counted(ranks, 'rank')} of {counted(batch // ranks, 'image')}, "
        f"{counted(-(-order.num_samples // batch), 'step')} an epoch; planned for "
        f"every rank, epoch {epoch + 1} of {config.epochs} has each image once; its last step too"
    )


def expected_time(board: Path, left: int) -> str:
    """The time for `left` images at the speed that the run has logged; nothing else is known of its machines."""
    events = EventAccumulator(str(board), size_guidance={"scalars": 100, "images": 1})
    if board.is_dir():
        events.Reload()
    if SPEED not in events.Tags()["scalars"]:
        return "unknown: this run has logged no speed yet"
    speed = float(np.median([point.value for point in events.Scalars(SPEED)]))
    return f"{duration_text(left / speed)} without evaluations, at the {speed:,.1f} images/s that this run has logged"
