"""Suggests a config for a set and this machine: python -m train.suggest SHARDS [--val SHARDS] [--minutes N] > mine.yaml

It examines the set and takes a few steps here to measure the speed. The config on stdout is complete, with the reason
for each choice; what makes the set hard is said there and on stderr.

- Side: the shorter side of all but the smallest 5 % of objects is at least 24 px, three quarters of a grid cell, where
  all classes count equally; never larger than the images, which would only enlarge pixels.
- Network: the largest of a ladder that sees enough images in the time: 30 epochs, and at least 10,000 images.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from data.loading.loader import Loader
from data.loading.opening import open_shards
from data.shards.index import ShardIndex
from data.view.statistics.advice import SIDES, SMALL_PX, SMALLEST, choose_side, hard_points, shorter_sides
from data.wording import counted
from launch.command import run
from launch.config_file import as_yaml
from launch.processes.environment import Environment, connect
from train.config import Config, load
from train.evaluation.config import EVALUATIONS
from train.evaluation.evaluator import require_objects
from train.graph.variants import Variant
from train.schedule.duration import RunLength
from train.starting.build import build_step
from train.starting.fit import remarks_on
from train.starting.resolve import resolved

EPOCHS, IMAGES, MOST_EPOCHS = 30, 10_000, 300  # for a run that learns: minimum, minimum, maximum
EVALUATION_COST = 1 / 3  # of an image, compared with one in training
MIXED_EPOCHS = 40  # from here on, in a run that sees enough images, mosaic helps more than it hides
STEPS, USABLE = 3, 0.9  # measured steps; share of the time, the rest goes to start and checkpoints


class Network(NamedTuple):
    variant: Variant
    width: float
    rate: float  # at batch 16


LADDER = [  # from the fastest to the largest
    Network("tiny-voc", 0.25, 6e-3),
    Network("tiny-voc", 0.5, 3e-3),
    Network("yolov2", 0.25, 3e-3),
    Network("yolov2", 0.5, 3e-3),
    Network("yolov2", 1.0, 1e-3),
]
FIRST = {"cpu": 2, "cuda": 4}  # rung of the ladder to try first


class Choice(NamedTuple):
    network: Network
    epochs: int
    speed: float  # images per second


def text_of(train: str, val: str | None, side: int, choice: Choice, images: int, env: Environment) -> str:
    """The keys of the config, each with its reason. images: that the run will see."""
    network, gpu = choice.network, env.device.type == "cuda"
    batch = 32 if gpu else 16
    folder = f"runs/{Path(train).parent.name or 'mine'}-{Path(train).name}"
    sides = sorted({max(SIDES[0], side - 32), side, min(SIDES[1], side + 32)})
    mosaic = 0.5 if choice.epochs > MIXED_EPOCHS and images >= IMAGES else 0.0
    return "\n".join(
        [
            f"run: {as_yaml(folder)}  # the same command resumes from here",
            "recipe: scratch  # from random weights; anchors, truth slots and durations by the set and the run",
            f"epochs: {choice.epochs}",
            "data:",
            f"  train: {as_yaml(train)}",
            f"  val: {as_yaml(val or train)}{'' if val else '  # no --val was given'}",
            f"  batch: {batch}",
            f"  sides: {sides}  # px, a new one every 10 batches: objects of all sizes occur",
            f"  workers: {4 if gpu else 0}  # on a CPU the training process reads as well",
            f"  augment: {{scale_min: 0.7, scale_max: 1.3, min_visible: 0.25, mosaic: {mosaic}}}  # mosaic: in a run "
            f"of more than {MIXED_EPOCHS} epochs; flip_vertical: 0.5 for pictures with no up",
            "model:",
            f"  variant: {network.variant}",
            f"  width: {network.width}  # the largest that sees enough images in the time",
            f"schedule: {{rate: {network.rate * (batch / 16) ** 0.5:.2g}}}",
            f"step: {{accumulate: {'auto' if gpu else 1}}}  # auto: as few parts as fit into the GPU",
            "evaluate:",
            f"  side: {side}  # all but {SMALLEST:.0%} of objects reach {SMALL_PX} px, or as large as images are",
            f"  every_epochs: auto  # about {EVALUATIONS} times",
            "",
        ]
    )


def read(text: str) -> Config:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "suggested.yaml"
        path.write_text(text, encoding="utf-8")
        return load(path, [], opens_sets=False)


def measured_speed(config: Config, index: ShardIndex, env: Environment) -> float:
    """Images per second, from the shards through the optimizer, at the largest side. config: resolved.

    Measured over a few throw-away steps. On a CPU their CPU time counts, as if nothing else were running.
    """
    data = replace(config.data, workers=0, sides=[max(config.data.sides)])
    trial = replace(config, data=data, step=replace(config.step, compile="no", accumulate=1))
    step = build_step(trial, index.classes, RunLength(index.num_samples, trial.epochs), env)
    loader = Loader(index, trial.data, seed=0, rank=0, world_size=1, device=env.device)
    began = 0.0
    for number, batch in enumerate(islice(loader.batches(0, 10**9), 1 + STEPS)):
        if number == 1:
            began = _now(env)
        step(batch, number * data.batch)
    return STEPS * data.batch / (_now(env) - began)


def _now(env: Environment) -> float:
    if env.device.type != "cuda":
        return time.process_time() / torch.get_num_threads()
    torch.cuda.synchronize(env.device)
    return time.perf_counter()


def epochs_in(minutes: float | None, speed: float, images: int, val_images: int) -> int:
    """Epochs that fit into the time; without a limit, enough to learn well."""
    if minutes is None:
        return min(MOST_EPOCHS, max(2 * EPOCHS, -(-2 * IMAGES // images)))
    left = minutes * 60 * speed * USABLE - EVALUATIONS * EVALUATION_COST * val_images
    return int(np.clip(left // images, 1, MOST_EPOCHS))


def choose(config: Config, train: ShardIndex, val: ShardIndex, minutes: float | None, env: Environment) -> Choice:
    """The largest network that sees enough images in the time. config: resolved."""
    needed, place = max(EPOCHS, -(-IMAGES // train.num_samples)), FIRST[env.device.type]
    while True:
        network = LADDER[place]
        model = replace(config.model, variant=network.variant, width=network.width)
        speed = measured_speed(replace(config, model=model), train, env)
        epochs = epochs_in(minutes, speed, train.num_samples, val.num_samples)
        size = f"{network.variant}, width {network.width}"
        print(f"{size}: {speed:.1f} images/s here, {counted(epochs, 'epoch')}", file=sys.stderr)
        if minutes is None or epochs >= needed or place == 0:
            return Choice(network, epochs, speed)
        place -= 1


def suggest(train: str, val: str | None, minutes: float | None, env: Environment) -> str:
    index = open_shards(train, None, None)
    val_index = open_shards(val, list(index.classes), None) if val else None
    if val_index:
        require_objects(val_index)
    side, scored = choose_side(index), val_index or index
    hard = hard_points(index, val_index, side)
    trial = resolved(read(text_of(train, val, side, Choice(LADDER[0], EPOCHS, 0), 0, env)), index, env)
    choice = choose(trial, index, scored, minutes, env)
    images = choice.epochs * index.num_samples
    if images < IMAGES:
        more = "more --minutes, or a GPU" if choice.epochs < MOST_EPOCHS else f"more images than {index.num_samples:,}"
        hard.append(f"{images:,} images seen in total: too few to learn well; give it {more}")
    seconds = (images + EVALUATIONS * EVALUATION_COST * scored.num_samples) / choice.speed / USABLE
    text = text_of(train, val, side, choice, images, env)
    final = replace(read(text), anchors=trial.anchors)
    remarks_on(resolved(final, index, Environment()), index)  # a config that cannot be started is not printed
    objects, classes = counted(len(shorter_sides(index)), "object"), counted(len(index.classes), "class")
    time_here = counted(max(1, round(seconds / 60)), "minute")
    lines = [
        f"{index.source}: {counted(index.num_samples, 'image')}, {classes}, {objects} to train on",
        f"Expected: {time_here} here, {choice.speed:.1f} images/s on {env.device} if idle otherwise",
        "Start:    python train/main.py THIS_FILE",
        *(f"Hard:     {point}" for point in hard),
    ]
    sys.stderr.writelines(f"hard: {point}\n" for point in hard)
    return "".join(f"# {line}\n" for line in lines) + text


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.suggest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards", metavar="SHARDS", help="shards to train on")
    parser.add_argument("--val", metavar="SHARDS", help="shards for validation")
    parser.add_argument("--minutes", type=float, help="time that training may take here; default: as long as it needs")
    options = parser.parse_args(arguments)
    if options.minutes is not None and not options.minutes > 0:
        raise ValueError(f"--minutes {options.minutes:g}: expected more than 0")
    with connect() as env:
        print(suggest(options.shards, options.val, options.minutes, env), end="")


if __name__ == "__main__":
    sys.exit(run(main))
