"""Checks a run before it is queued: reports all problems at once, and what the run will need.

    python -m train.check CONFIG [--processes N] [key=value ...]

One process on a CPU stands in for all N. It plans the batches of every rank, builds what rank 0 builds, over torch's
fake process group, and loads what the run would resume from. Of the shards it checks index, names and lengths
(`python -m data.shards verify` reads them). Nothing is written.
"""

import argparse
import dataclasses
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from data.loading.loader import Loader
from data.loading.opening import open_shards
from data.remote.addresses import is_remote
from data.shards.index import ShardIndex
from data.wording import counted, in_words, size_text
from launch.command import run
from launch.config_file import ALLOW_PIPE
from launch.processes.environment import Environment
from launch.redact import redacted
from train.checking.machine import require_open_files, require_writable, say_memory, say_room_for_decoded
from train.checking.network import build, stand_in
from train.checking.plan import check_plans, expected_time, loaders_of_all_ranks, require_whole_shares
from train.checking.report import Report
from train.checking.sets import shared_images
from train.config import AUTO, VOC_ANCHORS, Config, load
from train.starting.changes import accept_changes
from train.starting.fit import remarks_on
from train.starting.resolve import resolved
from train.starting.room import for_staging


def read(path: str, overrides: Sequence[str], report: Report) -> Config | None:
    """The config, without invalid keys of the command line; None if the file is invalid."""
    given = list(overrides)
    while True:
        try:
            return load(path, given)
        except ValueError as error:
            report.problems.append(str(error))
            reason = str(error).removeprefix(path).partition("; did you mean")[0]
        named = [each for each in given if _names(reason, each.partition("=")[0])]
        if not named:
            return None
        given = [each for each in given if each not in named]


def _names(reason: str, key: str) -> bool:
    """Whether the reason names the key, or a section of it that does not exist."""
    parts = key.split(".")
    prefixes = [".".join(parts[: depth + 1]) for depth in range(len(parts))]
    return any(re.search(rf"(?<![\w.]){re.escape(each)}(?!\w|\.\w)", reason) for each in prefixes)


def check(config: Config, processes: int, report: Report) -> None:
    """Checks every part of a start; the report collects the problems."""
    with report.part("machine"):
        require_writable(Path(config.run) / "checkpoints", "run")
        require_open_files(config.data.workers)
    train, val = _set("train", config, report), _set("val", config, report)
    if train and config.data.decoded_cache:
        with report.part("cache"):
            say_room_for_decoded(Path(config.data.decoded_cache), train, report)
    config = _resolved(config, train)
    if train:
        with report.part("fit"):
            for remark in remarks_on(config, train):
                report.say("remark", remark)
    loaders: list[Loader] = []
    with report.part("batch"):
        require_whole_shares(config, processes)
        say_memory(config, processes, report)
        if train:
            loaders = loaders_of_all_ranks(train, config, processes)
    if train and val:
        _compare(config, train, val, report)
    images = 0
    with report.part("network"), stand_in(processes) as env:
        accept_changes(config, env)
        progress = build(config, train, val, env, report)
        images = progress.images
        if images and train:
            epoch = progress.images_evaluated // train.num_samples
            report.say("position", f"{counted(images, 'image')} seen, {counted(epoch, 'epoch')} evaluated")
    if loaders:
        with report.part("plan"):
            report.say("plan", check_plans(loaders, images, config))
        left = config.epochs * loaders[0].index.num_samples - images
        report.say("time", expected_time(Path(config.run) / "board", max(left, 0)))


def _compare(config: Config, train: ShardIndex, val: ShardIndex, report: Report) -> None:
    addresses = redacted(config.data.train), redacted(config.data.val)
    if val.classes != train.classes:
        report.problems.append(
            f"{addresses[1]} holds the classes {in_words(val.classes)}; expected those of {addresses[0]}, "
            f"{in_words(train.classes)}: make the shards again with these --classes"
        )
    if not any(map(is_remote, (config.data.train, config.data.val))):
        with report.part("sets"):
            if shared := shared_images(train, val):
                report.say("remark", shared)


def _resolved(config: Config, train: ShardIndex | None) -> Config:
    """The config with what the set decides; with the published anchors if there is no set yet."""
    if train is None:
        return dataclasses.replace(config, anchors=VOC_ANCHORS if config.anchors == AUTO else config.anchors)
    return resolved(config, train, Environment())


def _set(name: str, config: Config, report: Report) -> ShardIndex | None:
    address, data, index = getattr(config.data, name), config.data, None
    if config.drawn and not (Path(address) / "index.json").exists():
        report.say(name, f"{address}: will be drawn at the start")
        return None
    with report.part(name), tempfile.TemporaryDirectory() as fresh:
        remote = is_remote(address)
        index = open_shards(address, data.classes, fresh if remote and data.staging else data.staging)
        size = sum(shard.bytes for shard in index.shards)
        content = f"{counted(index.num_samples, 'image')} of {counted(len(index.classes), 'class')} in "
        content += counted(len(index.shards), "shard")
        report.say(name, f"{address}: {content}, {size_text(size)}{'' if remote else ', all there'}")
        if remote:
            staging = Path(data.staging or "")
            require_writable(staging, "data.staging")
            report.need(for_staging(config, index))
    return index


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.check", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("--processes", type=int, default=1, help="processes of the run, on all its nodes")
    parser.add_argument(ALLOW_PIPE, action="store_true", help="run commands in the config")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args(arguments)
    overrides = [*options.overrides, *[ALLOW_PIPE] * options.allow_pipe]
    if options.processes < 1:
        raise ValueError(f"--processes {options.processes}: expected at least 1")
    report = Report()
    config = read(options.config, overrides, report)
    if config:
        check(config, options.processes, report)
    if report.problems:
        raise ValueError("\nerror: ".join(report.problems))
    report.say("", f"{options.config} can be started")


if __name__ == "__main__":
    sys.exit(run(main))
