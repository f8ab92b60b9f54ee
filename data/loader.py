"""Shards -> batches: the one place with a DataLoader.

    order.plan -> (samples, epochs, side) -> read by offset -> decode -> place, flip, colour -> Batch

A worker makes a whole batch from a `BatchPlan` and holds no state: what is on a batch is a function of the plan, the
seed and the shards, never of which worker made it or when. Training reads one endless stream over all epochs, so
workers start once per run.
"""

import atexit
import multiprocessing
import signal
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from data.augment import (
    AugmentConfig,
    clip_boxes,
    distort_colour,
    place_boxes,
    place_image,
    random_placement,
    whole_image,
)
from data.decode import decode
from data.index import ShardIndex, ShardReader
from data.order import BatchPlan, Order, plan
from data.sample import Batch, truth_slots

NOT_AUGMENTED = -1  # in BatchPlan.epochs


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    train: str  #: folder of shards
    val: str
    classes: list[str] | None = None  #: what the shards must hold; None: whatever they hold
    batch: int = 64  #: images of one step, over all processes
    sides: list[int] = field(default_factory=lambda: list(range(320, 609, 32)))  #: px, multiples of 32
    batches_per_side: int = 10  #: darknet draws a new side every 10 batches
    truth_slots: int = 50  #: most objects of one image that are trained on (darknet: 30)
    window: int = 8  #: shards that are mixed with each other
    workers: int = 4  #: loader processes of each rank; 0: in the training process
    max_faults: int = 20  #: unreadable images a rank replaces before it gives up
    resize: Literal["letterbox", "stretch"] = "letterbox"  #: how evaluation makes images square
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        if not self.sides or any(side % 32 or side < 32 for side in self.sides):
            raise ValueError(f"data.sides={self.sides}: expected multiples of 32 px, the stride of the network")
        for name in ("batch", "batches_per_side", "truth_slots", "window"):
            if getattr(self, name) < 1:
                raise ValueError(f"data.{name}={getattr(self, name)}: expected at least 1")


def open_shards(folder: str, classes: list[str] | None) -> ShardIndex:
    index = ShardIndex.load(Path(folder))
    if classes is not None and tuple(classes) != index.classes:
        raise ValueError(
            f"the shards at {folder} hold the classes {', '.join(index.classes)}; expected {', '.join(classes)}, as "
            "data.classes or the training shards say: correct the config, or make the shards with these --classes"
        )
    return index


class BatchReader(Dataset[Batch]):
    """`reader[plan]` is the batch. Map-style over plans, so that DataLoader keeps their order."""

    def __init__(self, index: ShardIndex, config: DataConfig, seed: int) -> None:
        self.index, self.config, self.seed = index, config, seed
        self.reader = ShardReader(index)

    def __getitem__(self, plan: BatchPlan) -> Batch:
        images = torch.empty((len(plan.samples), plan.side, plan.side, 3), dtype=torch.uint8)
        truths = np.empty((len(plan.samples), self.config.truth_slots, 5), np.float32)
        faults: list[str] = []
        for row, (sample, epoch) in enumerate(zip(plan.samples.tolist(), plan.epochs.tolist(), strict=True)):
            truths[row] = self._fill(images[row].numpy(), sample, epoch, faults)
        return Batch(images, torch.from_numpy(truths), torch.from_numpy(plan.samples), faults)

    def _fill(
        self,
        canvas: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
        sample: int,
        epoch: int,
        faults: list[str],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        """Writes the canvas, returns its truth slots. An unreadable image is replaced by the next one in the shards."""
        config, index = self.config, self.index
        for step in range(index.num_samples):
            source = (sample + step) % index.num_samples
            try:
                image = decode(self.reader.image(source))
                break
            except ValueError as error:
                faults.append(f"{index.shard_of(source).name}/{index.key(source)}: {error}")
                if epoch == NOT_AUGMENTED:
                    raise ValueError(f"cannot evaluate: {faults[-1]}; run `python -m data.shards verify`") from None
        else:
            raise ValueError(f"no image in {index.folder} can be decoded; run `python -m data.shards verify`")
        height, width = image.shape[:2]
        objects = index.objects(source)
        boxes, labels = index.arrays["boxes_xyxy_px"][objects], index.arrays["labels"][objects]
        if epoch == NOT_AUGMENTED:
            place_image(image, whole_image(width, height, canvas.shape[0], config.resize), canvas)
            return truth_slots(np.empty((0, 4), np.float32), labels[:0], config.truth_slots)
        # one generator for each (seed, epoch, sample): who reads the image, and when, makes no difference
        rng = np.random.Generator(np.random.Philox(key=[self.seed, epoch], counter=[0, 0, 3, sample]))
        placement = random_placement(width, height, canvas.shape[0], config.augment, rng)
        place_image(image, placement, canvas)
        distort_colour(canvas, config.augment, rng)
        trained = ~(index.arrays["difficult"][objects] | index.arrays["crowd"][objects])
        boxes, kept = clip_boxes(place_boxes(boxes[trained], placement, canvas.shape[0]), config.augment.min_size)
        boxes, labels = boxes[kept], labels[trained][kept]
        shuffled = rng.permutation(len(labels))  # as darknet: which of two objects wins a slot changes by epoch
        return truth_slots(boxes[shuffled], labels[shuffled], config.truth_slots)


class Loader:
    """Batches of one rank."""

    def __init__(
        self,
        index: ShardIndex,
        config: DataConfig,
        *,
        seed: int,
        rank: int,
        world_size: int,
        pin_memory: bool,
    ) -> None:
        if config.batch % world_size:
            raise ValueError(
                f"data.batch={config.batch} over {world_size} processes leaves a remainder; "
                f"use a multiple of {world_size} or change the number of processes"
            )
        self.index, self.config, self.seed = index, config, seed
        self.rank, self.world_size, self.pin_memory = rank, world_size, pin_memory
        self.order = Order(index.shard_sizes, seed, config.window)
        self.faults = 0

    def batches(self, start: int, stop: int) -> Iterator[Batch]:
        """Training batches from position `start` (images seen) on, until `stop` images are seen."""
        plans = plan(
            self.order,
            start=start,
            stop=stop,
            batch=self.config.batch,
            rank=self.rank,
            world_size=self.world_size,
            sides=tuple(self.config.sides),
            images_per_side=self.config.batch * self.config.batches_per_side,
        )
        for batch in self._load(plans):
            for fault in batch.faults:
                print(f"replaced an unreadable image: {fault}", file=sys.stderr)
            self.faults += len(batch.faults)
            if self.faults > self.config.max_faults:
                raise ValueError(
                    f"{self.faults} unreadable images, more than data.max_faults={self.config.max_faults}; "
                    f"last: {batch.faults[-1]}; run `python -m data.shards verify {self.index.folder}`"
                )
            yield batch

    def evaluation_batches(self, side: int, batch: int) -> Iterator[Batch]:
        """This rank's share of the set, each image once, unaugmented; the last batch is as large as what is left."""
        share = np.arange(self.rank, self.index.num_samples, self.world_size, dtype=np.int64)
        parts = [share[first : first + batch] for first in range(0, len(share), batch)]
        return self._load(BatchPlan(part, np.full_like(part, NOT_AUGMENTED), side) for part in parts)

    def _load(self, plans: Iterable[BatchPlan]) -> Iterator[Batch]:
        workers = self.config.workers
        loader = DataLoader(
            BatchReader(self.index, self.config, self.seed),
            sampler=_Plans(plans),  # the "index" of this dataset is a plan
            batch_size=None,
            num_workers=workers,
            worker_init_fn=_start_worker,
            multiprocessing_context="forkserver" if workers else None,  # fork is unsafe beside CUDA and threads
            pin_memory=self.pin_memory,
        )
        batches = iter(loader)
        atexit.unregister(_end_workers)
        atexit.register(_end_workers)  # last registered, first called: before Python waits for the workers
        return batches


class _Plans:
    def __init__(self, plans: Iterable[BatchPlan]) -> None:
        self._plans = plans

    def __iter__(self) -> Iterator[BatchPlan]:
        return iter(self._plans)


def _start_worker(_: int) -> None:
    # a scheduler warns every process of the job; saving is the training process's business, it still needs batches
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


def _end_workers() -> None:
    """At exit. After an exception nobody ends the workers but Python, by SIGTERM, which they ignore: it would hang."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
