"""What a start would find, before anything is queued: all that is wrong at once, and what the run will need.

    python -m train.check CONFIG [--processes N] [key=value ...]

One process on a CPU stands in for all N. It plans the batches of every rank, builds what rank 0 builds, over torch's
fake process group, and loads what the run would go on from. Of the shards it looks at index, names and lengths
(`python -m data.shards verify` reads them). Nothing is written.
"""

import argparse
import dataclasses
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data.loading.loader import Loader
from data.loading.opening import open_shards
from data.remote.fetch import is_remote
from data.shards.index import ShardIndex
from data.sources.shapes import CLASSES
from launch.environment import CPU, Environment
from train.capacity import memory_of
from train.config import Config, load
from train.evaluation.evaluator import Evaluator
from train.loss import build_loss
from train.model import build_model
from train.run.checkpoint import Checkpoint
from train.run.progress import Progress
from train.stepping.step import Step
from train.weights.start import start_from

SPEED = "speed/images_per_s"  # in a run's TensorBoard log


class Report:
    """Lines for a person as they come; the problems are kept for the end."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def say(self, name: str, text: str) -> None:
        print(f"{name:<12}{text}", flush=True)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """What is wrong ends this part, not the report."""
        try:
            yield
        except (ValueError, OSError) as error:
            self.problems.append(str(error))
            self.say(name, "not as it should be, see below")

    def need(self, folder: Path, size: int, what: str) -> None:
        """ValueError: the disk where this folder is, or would be, has no room for so many bytes more."""
        there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        free = shutil.disk_usage(there).free
        self.say("disk", f"{folder}: {_amount(max(size, 0))} more {what}, {_amount(free)} free on this machine")
        if free < size:
            raise ValueError(
                f"{folder}: expected room for {_amount(size)} {what}, found {_amount(free)}; make room or choose "
                "another folder"
            )


def read(path: str, overrides: Sequence[str], report: Report) -> Config | None:
    """The config, without the keys of the command line that spoil it; None where the file does."""
    given = list(overrides)
    while True:
        try:
            return load(path, given)
        except ValueError as error:
            report.problems.append(str(error))
            reason = str(error).removeprefix(" ".join([path, *given]))
        named = [each for each in given if _names(reason, each.partition("=")[0])]
        if not named:
            return None
        given = [each for each in given if each not in named]


def _names(reason: str, key: str) -> bool:
    """The key, or a section of it that does not exist."""
    parts = key.split(".")
    prefixes = [".".join(parts[: depth + 1]) for depth in range(len(parts))]
    return any(re.search(rf"(?<![\w.]){re.escape(each)}(?!\w|\.\w)", reason) for each in prefixes)


def check(config: Config, processes: int, report: Report) -> None:
    train, val = _set("train", config, report), _set("val", config, report)
    loaders: list[Loader] = []
    with report.part("batch"):
        _require_whole_shares(config, processes)
        report.say("memory", _memory(config, processes))
        if train:
            loaders = _of_all_ranks(train, config, processes)
    if train and val and val.classes != train.classes:
        report.problems.append(
            f"{config.data.val} holds the classes {', '.join(val.classes)}; expected those of {config.data.train}, "
            f"{', '.join(train.classes)}: make the shards again with these --classes"
        )
    images = 0
    with report.part("network"), _stand_in(processes) as env:
        images = _network(config, train, val, env, report)
    if loaders:
        with report.part("plan"):
            report.say("plan", _plan(loaders, images, config))
        left = config.epochs * loaders[0].index.num_samples - images
        report.say("time", _time(Path(config.run) / "board", max(left, 0)))


def _set(name: str, config: Config, report: Report) -> ShardIndex | None:
    address, data, index = getattr(config.data, name), config.data, None
    if config.drawn and not (Path(address) / "index.json").exists():
        report.say(name, f"{address}: will be drawn at the start")
        return None
    with report.part(name), tempfile.TemporaryDirectory() as fresh:
        remote = is_remote(address)
        index = open_shards(address, data.classes, fresh if remote and data.staging else data.staging)
        size = sum(shard.bytes for shard in index.shards)
        content = f"{index.num_samples:,} images of {len(index.classes)} classes in {len(index.shards)} shards"
        report.say(name, f"{address}: {content}, {_amount(size)}{'' if remote else ', all there'}")
        if remote:
            staging = Path(data.staging or "")
            there = sum(path.stat().st_size for path in (staging / index.folder.name).glob("*.tar*"))
            report.need(staging, size - there, f"of {address}")
    return index


def _require_whole_shares(config: Config, processes: int) -> None:
    batch, parts = config.data.batch, config.step.accumulate
    parts = 1 if parts == "auto" else int(parts)
    if batch % (processes * parts):
        raise ValueError(
            f"data.batch={batch} over {processes} processes and step.accumulate={parts} leaves a remainder; use a "
            f"multiple of {processes * parts} or change the number of processes"
        )


def _memory(config: Config, processes: int) -> str:
    side, auto = max(config.data.sides), config.step.accumulate == "auto"
    memory = memory_of(config, side, processes=processes)
    text = f"{_amount(memory.total)} of each process for a step at {side} px, predicted"
    return f"{text}; less where that is too much, in as few parts as fit" if auto else text


def _of_all_ranks(index: ShardIndex, config: Config, processes: int) -> list[Loader]:
    one = partial(Loader, index, config.data, seed=config.seed, world_size=processes, device=CPU)
    loaders = [one(rank=rank) for rank in range(processes)]
    for loader in loaders:
        loader.order = loaders[0].order  # computed once
    return loaders


def _plan(loaders: list[Loader], images: int, config: Config) -> str:
    """Of the epoch in which the run stands, and of its last batch, as every rank computes it by itself."""
    order, batch, ranks = loaders[0].order, config.data.batch, len(loaders)
    last = config.epochs * order.num_samples
    epoch = min(images // order.num_samples, config.epochs - 1)
    start = epoch * order.num_samples
    times = np.zeros(order.num_samples, np.int64)
    sides = []
    for loader in loaders:
        plans = list(loader.plans(start, start + order.num_samples))
        sides.append([plan.side for plan in plans])
        for plan in plans:
            np.add.at(times, plan.samples[plan.epochs == epoch], 1)
    last_steps = [list(loader.plans((last - 1) // batch * batch, last)) for loader in loaders]  # an order of its own
    assert (times == 1).all(), f"epoch {epoch}: an image comes twice or not at all"
    assert all(each == sides[0] for each in sides), "ranks differ in the number of their batches, or in a side"
    assert len({(len(plans), plans[0].side) for plans in last_steps}) == 1, "ranks differ in their last step"
    return (
        f"{ranks} ranks of {batch // ranks} images, {-(-order.num_samples // batch):,} steps an epoch; planned for "
        f"every rank, epoch {epoch + 1} of {config.epochs} has each image once; its last step too"
    )


@contextmanager
def _stand_in(processes: int) -> Iterator[Environment]:
    """Rank 0 of so many processes: what it sends goes nowhere, and nothing ever comes."""
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if processes > 1:
        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=processes)
    try:
        yield Environment(0, processes, launcher="stand-in")
    finally:
        if processes > 1:
            dist.destroy_process_group()


def _network(config: Config, train: ShardIndex | None, val: ShardIndex | None, env: Environment, report: Report) -> int:
    """Builds what a process builds, and goes on from the newest checkpoint. The images seen."""
    index = train or val
    classes = index.classes if index else tuple(config.data.classes or CLASSES)
    model = build_model(config.model, len(classes), len(config.anchor_pairs))
    report.say("network", f"{config.model.variant}, {sum(each.numel() for each in model.parameters()):,} parameters")
    if config.weights:
        checkpoints = Path(config.run) / "checkpoints"
        if is_remote(config.weights):
            report.say("weights", "will be fetched at the start")
        else:
            start_from(config.weights, model, config.network(classes), checkpoints, env)
    loss = build_loss(config.loss, config.anchor_pairs, len(classes))
    step = Step(dataclasses.replace(config.step, compile="no"), config.schedule, model, loss, env)
    if val:
        Evaluator(config.evaluate, Loader(val, config.data, seed=0, rank=0, world_size=1, device=env.device), env)
    folder, progress = Path(config.run) / "checkpoints", Progress()
    size = _num_bytes(step.state_dict())
    there = sum(path.stat().st_size for path in folder.glob("*.pt"))
    with report.part("disk"):  # the newest, the best, and the one that is being written
        report.need(folder, (config.checkpoint.keep + 2) * size - there, f"of checkpoints of {_amount(size)}")
    Checkpoint(folder, config.checkpoint, env, config.network(classes), step=step, progress=progress).restore()
    if progress.images:
        report.say("position", f"{progress.images:,} images seen, {progress.epochs_evaluated} epochs evaluated")
    return progress.images


def _num_bytes(state: object) -> int:
    """Of all tensors in a nested state."""
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    inner = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return sum(_num_bytes(item) for item in inner)


def _amount(size: int) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def _time(board: Path, left: int) -> str:
    """From the speed that the run has logged; nothing else is known of the machines it will have."""
    events = EventAccumulator(str(board), size_guidance={"scalars": 100, "images": 1})
    if board.is_dir():
        events.Reload()
    if SPEED not in events.Tags()["scalars"]:
        return "not known: this run has logged no speed yet"
    speed = float(np.median([point.value for point in events.Scalars(SPEED)]))
    minutes = left / speed / 60
    time = f"{minutes:.1f} min" if minutes < 60 else f"{minutes / 60:.1f} h"
    return f"{time} without evaluations, at the {speed:,.1f} images/s that this run has logged"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("--processes", type=int, default=1, help="of the run, on all its nodes")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args(arguments)
    if options.processes < 1:
        sys.exit(f"error: --processes {options.processes}: expected at least 1")
    report = Report()
    config = read(options.config, options.overrides, report)
    if config:
        check(config, options.processes, report)
    if report.problems:
        sys.exit("\n".join(f"error: {problem}" for problem in report.problems))
    report.say("", f"{options.config} can be started")


if __name__ == "__main__":
    main()
