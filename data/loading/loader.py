"""Shards -> batches: the one place with a DataLoader.

    order.plan -> BatchPlan -> BatchReader, in a worker -> slot of shared memory -> Batch, on the device

Workers hold no state and nothing but a slot number comes back from them, in the order of the plans. Training reads one
endless stream over all epochs, so workers start once per run.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import tee
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from data.images.augment import AugmentConfig, Colour, stretch
from data.images.on_device import layout_row
from data.loading.batch import Batch
from data.loading.order import BatchPlan, Order, plan
from data.loading.reader import NOT_AUGMENTED, BatchReader, Filled, Numbered
from data.loading.slots import Slots
from data.loading.to_device import Transfer
from data.loading.workers import end_workers_at_exit, ignore_warnings, start_fork_server
from data.remote.fetch import is_remote
from data.remote.remote_set import open_remote
from data.remote.staging import Arrivals, Staging, Wanted, never
from data.shards.index import ShardIndex

PREFETCH = 2  # batches in the making for each worker


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    train: str  #: folder of shards; elsewhere: http(s)://HOST/SET, s3://BUCKET/SET or pipe:COMMAND {}
    val: str
    staging: str | None = None  #: folder on a disk of each machine, where shards from elsewhere are brought to
    classes: list[str] | None = None  #: what the shards must hold; None: whatever they hold
    batch: int = 64  #: images of one step, over all processes
    sides: list[int] = field(default_factory=lambda: list(range(320, 609, 32)))  #: px, multiples of 32
    batches_per_side: int = 10  #: darknet draws a new side every 10 batches
    truth_slots: int = 50  #: most objects of one image that are trained on (darknet: 30)
    window: int = 8  #: shards that are mixed with each other
    workers: int = 4  #: loader processes of each rank; 0: in the training process
    geometry: Literal["workers", "device"] = "workers"  #: where images are cropped and resized (docs/data.md)
    colour: Literal["auto", "workers", "device"] = "auto"  #: where colours change; auto: on CUDA the device
    decoded_cache: str | None = None  #: folder in memory, such as /dev/shm/voc, where decoded images are kept
    max_faults: int = 20  #: unreadable images a rank replaces before it gives up
    resize: Literal["letterbox", "stretch"] = "letterbox"  #: how evaluation makes images square
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        if not self.sides or any(side % 32 or side < 32 for side in self.sides):
            raise ValueError(f"data.sides={self.sides}: expected multiples of 32 px, the stride of the network")
        for name in ("batch", "batches_per_side", "truth_slots", "window", "workers", "max_faults"):
            least = 0 if name in ("workers", "max_faults") else 1
            if getattr(self, name) < least:
                raise ValueError(f"data.{name}={getattr(self, name)}: expected at least {least}")


def open_shards(address: str, classes: list[str] | None, staging: str | None) -> ShardIndex:
    index = open_remote(address, staging) if is_remote(address) else ShardIndex.load(Path(address))
    if classes is not None and tuple(classes) != index.classes:
        raise ValueError(
            f"the shards at {address} hold the classes {', '.join(index.classes)}; expected {', '.join(classes)}, as "
            "data.classes or the training shards say: correct the config, or make the shards with these --classes"
        )
    return index


def staged(train: "Loader", val: "Loader", start: int) -> Staging:
    """Brings shards from elsewhere, in the order in which training from this position needs them."""
    now, after = train.order.shards_from(start)
    return Staging(
        [
            Wanted(train.config.train, train.index, now),
            Wanted(val.config.val, val.index, range(len(val.index.shards))),
            Wanted(train.config.train, train.index, after),
        ]
    )


class Loader:
    """Batches of one rank, on its device."""

    def __init__(
        self,
        index: ShardIndex,
        config: DataConfig,
        *,
        seed: int,
        rank: int,
        world_size: int,
        device: torch.device,
    ) -> None:
        if config.batch % world_size:
            raise ValueError(
                f"data.batch={config.batch} over {world_size} processes leaves a remainder; "
                f"use a multiple of {world_size} or change the number of processes"
            )
        self.index, self.config, self.seed = index, config, seed
        self.rank, self.world_size, self.device = rank, world_size, device
        self.order = Order(index.shard_sizes, seed, config.window)
        self.packed = config.geometry == "device"
        on_device = config.colour == "device" or (config.colour == "auto" and device.type != "cpu")
        self.colours_left = on_device or self.packed  # for the device: colours change after the geometry
        self.faults = 0

    def plans(self, start: int, stop: int) -> Iterator[BatchPlan]:
        """What `batches` reads, for this rank."""
        config = self.config
        return plan(
            self.order,
            start=start,
            stop=stop,
            batch=config.batch,
            rank=self.rank,
            world_size=self.world_size,
            sides=tuple(config.sides),
            images_per_side=config.batch * config.batches_per_side,
        )

    def batches(self, start: int, stop: int, stopping: Callable[[], bool] = never) -> Iterator[Batch]:
        """Training batches from position `start` (images seen) on, until `stop` images are seen.

        They end early if `stopping` says so while their shards are still on the way.
        """
        config = self.config
        local = config.batch // self.world_size
        pixels = most_pixels(self.index, local) if self.packed else local * max(config.sides) ** 2
        slots = self._slots(local, pixels * 3)
        reader = self._reader(slots, packed=self.packed, colour=not self.colours_left)
        for batch in self._load(self.plans(start, stop), reader, stopping):
            for fault in batch.faults:
                print(f"replaced an unreadable image: {fault}", file=sys.stderr)
            self.faults += len(batch.faults)
            if self.faults > config.max_faults:
                raise ValueError(
                    f"{self.faults} unreadable images, more than data.max_faults={config.max_faults}; "
                    f"last: {batch.faults[-1]}; run `python -m data.shards verify {self.index.folder}`"
                )
            yield batch

    def blank_batches(self) -> Iterator[Batch]:
        """One of every side, the largest first, as `batches` would give it: to warm up with."""
        local, device = self.config.batch // self.world_size, self.device
        truths = torch.zeros(local, self.config.truth_slots, 5, device=device)
        truths[..., 4] = -1
        colours = torch.tensor([Colour()] * local, device=device) if self.colours_left else None
        for side in sorted(set(self.config.sides), reverse=True):
            images, layout = torch.zeros(local, side, side, 3, dtype=torch.uint8, device=device), None
            if self.packed:
                images = images[0].flatten()
                layout = torch.tensor([layout_row(0, side, stretch(side, side, side))] * local, device=device)
            yield Batch(images, truths, torch.zeros(local, dtype=torch.int64), [], side, colours, layout)

    def evaluation_batches(self, side: int, batch: int, stopping: Callable[[], bool] = never) -> Iterator[Batch]:
        """This rank's share of the set, each image once, unaugmented; the last batch is as large as what is left."""
        share = np.arange(self.rank, self.index.num_samples, self.world_size, dtype=np.int64)
        parts = [share[first : first + batch] for first in range(0, len(share), batch)]
        plans = (BatchPlan(part, np.full_like(part, NOT_AUGMENTED), side) for part in parts)
        reader = self._reader(self._slots(batch, batch * side * side * 3), packed=False, colour=True)
        return self._load(plans, reader, stopping)

    def _slots(self, batch: int, pixel_bytes: int) -> Slots:
        # in the making, and two that are being read: the batch in use, and the one before it on its way to the device
        return Slots(self.config.workers * PREFETCH + 2, batch, self.config.truth_slots, pixel_bytes)

    def _reader(self, slots: Slots, *, packed: bool, colour: bool) -> BatchReader:
        config = self.config
        return BatchReader(
            self.index,
            slots,
            config.augment,
            seed=self.seed,
            resize=config.resize,
            packed=packed,
            colour=colour,
            cache=config.decoded_cache,
        )

    def _load(
        self, plans: Iterable[BatchPlan], reader: BatchReader, stopping: Callable[[], bool] = never
    ) -> Iterator[Batch]:
        slots, workers = reader.slots, self.config.workers
        to_workers, to_come = tee(Numbered(number % slots.count, each) for number, each in enumerate(plans))
        if workers:
            start_fork_server()
        loader = DataLoader(
            _Answers(reader),
            sampler=_Once(to_workers),  # the "index" of this dataset is a plan
            batch_size=None,
            num_workers=workers,
            prefetch_factor=PREFETCH if workers else None,
            worker_init_fn=ignore_warnings,
            multiprocessing_context="forkserver" if workers else None,  # fork is unsafe beside CUDA and threads
        )
        found = iter(loader)
        end_workers_at_exit()
        return self._deliver(found, to_come, reader, stopping)

    def _deliver(
        self,
        found: Iterator[Filled | ValueError],
        to_come: Iterator[Numbered],
        reader: BatchReader,
        stopping: Callable[[], bool],
    ) -> Iterator[Batch]:
        arrivals = Arrivals(self.index)
        transfer = Transfer(self.device, reader.slots, packed=reader.packed, coloured=reader.colour)
        try:
            for slot, each in to_come:
                if not all(arrivals.wait_for(sample, stopping) for sample in each.samples.tolist()):
                    return
                filled = next(found)
                if isinstance(filled, ValueError):
                    raise filled
                yield transfer(slot, each, filled)
                transfer.wait_for_all_but_the_last()
        finally:
            transfer.close()


def most_pixels(index: ShardIndex, batch: int) -> int:
    """Of all images of a batch: of the largest ones there are, each as often as epochs meet in a batch."""
    pixels = np.sort(index.arrays["widths"].astype(np.int64) * index.arrays["heights"])[-batch:]
    return int(np.sort(np.tile(pixels, batch // index.num_samples + 2))[-batch:].sum())


class _Answers(Dataset[Filled | ValueError]):
    """The reader in a worker. An error is an answer too: raised there, it would come back as a traceback."""

    def __init__(self, reader: BatchReader) -> None:
        self._reader = reader

    def __getitem__(self, numbered: Numbered) -> Filled | ValueError:
        try:
            return self._reader[numbered]
        except ValueError as error:
            return error


class _Once:
    """DataLoader wants a sampler it can iterate; this one can be iterated once."""

    def __init__(self, numbered: Iterator[Numbered]) -> None:
        self._numbered = numbered

    def __iter__(self) -> Iterator[Numbered]:
        return self._numbered
