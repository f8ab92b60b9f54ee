"""Shards -> batches: the one place with a DataLoader.

    order.plan -> BatchPlan -> BatchReader, in a worker -> slot of shared memory -> Batch, on the device

Workers hold no state and return nothing but a slot number, in the order of the plans. Training reads one endless stream
over all epochs, so workers start once per run.
"""

import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import tee

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from data.images.colour import Colour
from data.images.geometry import GreyLevel, Size, grey_level, stretch, width_and_height
from data.images.on_device import layout_row
from data.loading.batch import Batch
from data.loading.config import DataConfig
from data.loading.filling.order import BatchPlan, Order, plan
from data.loading.filling.reader import BatchReader, SlottedPlan
from data.loading.filling.slots import Slots, most_pixels
from data.loading.handover.prefetch import DEPTH, Answer, Prefetcher, thread_safe
from data.loading.handover.to_device import Transfer
from data.loading.handover.unchanged import while_unchanged
from data.loading.handover.workers import answers_of, begin_worker, start_fork_server
from data.remote.arrivals import Arrivals
from data.shards.index import ShardIndex

PREFETCH = 2  # batches being made by each worker


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
        self.colours_left = on_device or self.packed  # to the device: colours change after the geometry
        self.faults = 0
        self._prefetcher: Prefetcher | None = None

    def ready(self) -> bool:
        """Whether the next of the batches last begun comes without waiting, and without polling `stopping`."""
        return self._prefetcher is not None and self._prefetcher.ready()

    def plans(self, start: int, stop: int) -> Iterator[BatchPlan]:
        """The plans that `batches` follows on this rank."""
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
            mix_until=round(stop * config.augment.mix_until) if config.augment.mixed else 0,
        )

    def batches(self, start: int, stop: int, stopping: Callable[[], bool] | None = None) -> Iterator[Batch]:
        """Training batches from `start` images seen to `stop`, the end of the run; ends early if `stopping`."""
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
        """One batch for every side, the largest first, in the form of `batches`: for the warm-up."""
        local, device = self.config.batch // self.world_size, self.device
        truths = torch.zeros(local, self.config.num_slots, 5, device=device)
        truths[..., 4] = -1
        colours = torch.tensor([Colour()] * local, device=device) if self.colours_left else None
        for side in sorted(set(self.config.sides), reverse=True):
            images, layout = torch.zeros(local, side, side, 3, dtype=torch.uint8, device=device), None
            if self.packed:
                images = images[0].flatten()
                layout = torch.tensor([layout_row(0, side, stretch(side, side, side))] * local, device=device)
            yield Batch(images, truths, torch.zeros(local, dtype=torch.int64), [], side, colours, layout)

    def evaluation_batches(self, size: Size, batch: int, stopping: Callable[[], bool] | None = None) -> Iterator[Batch]:
        """This rank's share of the set, each image once, unaugmented; the last batch may be smaller."""
        (width, height), level = width_and_height(size), grey_level(self.config.resize)
        share = np.arange(self.rank, self.index.num_samples, self.world_size, dtype=np.int64)
        parts = [share[first : first + batch] for first in range(0, len(share), batch)]
        plans = (BatchPlan(part, np.zeros_like(part), width, augmented=False, height=height) for part in parts)
        slots = self._slots(batch, batch * width * height * 3 * np.dtype(level).itemsize)
        reader = self._reader(slots, packed=False, colour=True, level=level)
        return self._load(plans, reader, stopping)

    def _slots(self, batch: int, pixel_bytes: int) -> Slots:
        # being made, made but not taken, and one on its way to the device
        return Slots(self.config.workers * PREFETCH + DEPTH + 1, batch, self.config.num_slots, pixel_bytes)

    def _reader(self, slots: Slots, *, packed: bool, colour: bool, level: GreyLevel = np.uint8) -> BatchReader:
        config = self.config
        return BatchReader(
            self.index,
            slots,
            config.augment,
            seed=self.seed,
            resize=config.resize,
            packed=packed,
            colour=colour,
            level=level,
            cache=config.decoded_cache,
        )

    def _load(
        self, plans: Iterable[BatchPlan], reader: BatchReader, stopping: Callable[[], bool] | None = None
    ) -> Iterator[Batch]:
        slots, workers = reader.slots, self.config.workers
        slotted = tee(SlottedPlan(number % slots.count, each) for number, each in enumerate(plans))
        to_workers, to_come = thread_safe(*slotted)
        if workers:
            start_fork_server()
        loader = DataLoader(
            _Answers(reader),
            sampler=_PlanSampler(to_workers),  # the "index" of this dataset is a plan
            batch_size=None,
            num_workers=workers,
            prefetch_factor=PREFETCH if workers else None,
            worker_init_fn=begin_worker,
            multiprocessing_context="forkserver" if workers else None,  # fork is unsafe with CUDA and threads
        )
        prefetcher = Prefetcher(answers_of(loader, workers), to_come, Arrivals(self.index), workers=workers > 0)
        return while_unchanged(self.index, self._deliver(prefetcher, reader, stopping))

    def _deliver(
        self, prefetcher: Prefetcher, reader: BatchReader, stopping: Callable[[], bool] | None
    ) -> Generator[Batch]:
        transfer = Transfer(self.device, reader.slots, reader.level, packed=reader.packed, coloured=reader.colour)
        self._prefetcher = prefetcher
        try:
            while taken := prefetcher.take(stopping):
                slotted, answer = taken
                if isinstance(answer, ValueError):
                    raise answer
                batch = transfer(slotted.slot, slotted.plan, answer)
                transfer.wait_for_all_but_the_last()
                prefetcher.request()
                yield batch
        finally:
            self._prefetcher = None
            prefetcher.close()
            transfer.close()


class _Answers(Dataset[Answer]):
    """The reader in a worker. Errors are returned as answers: raised there, they would come back as tracebacks."""

    def __init__(self, reader: BatchReader) -> None:
        self._reader = reader

    def __getitem__(self, slotted: SlottedPlan) -> Answer:
        try:
            return self._reader[slotted]
        except ValueError as error:
            return error


class _PlanSampler:
    """The sampler that DataLoader requires, over plans; it can be iterated once."""

    def __init__(self, plans: Iterator[SlottedPlan]) -> None:
        self._plans = plans

    def __iter__(self) -> Iterator[SlottedPlan]:
        return self._plans
