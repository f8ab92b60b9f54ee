"""A plan -> a batch, written into a slot: read by offset, decode, place, change colours, move the boxes.

    BatchPlan (samples, epochs, side) -> ShardReader.image -> decode -> place, flip, colour -> Slot

What is on a batch is a function of plan, seed and shards: who makes it, and when, makes no difference.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from data.images.augment import AugmentConfig, random_colour, random_placement
from data.images.colour import Colour, distort_colour
from data.images.decode import decode
from data.images.geometry import Placement, Resize, clip_boxes, place_boxes, place_image, whole_image
from data.images.on_device import layout_row
from data.loading.batch import truth_slots
from data.loading.decoded_cache import DecodedCache
from data.loading.order import BatchPlan
from data.loading.slots import Slot, Slots
from data.randomness import Generators, Purpose
from data.remote.arrivals import Arrivals
from data.shards.index import ShardIndex
from data.shards.read import ShardReader

Image = NDArray[np.uint8]


class Numbered(NamedTuple):
    """A plan, and the slot its batch goes to."""

    slot: int
    plan: BatchPlan


class Filled(NamedTuple):
    """What became of it."""

    num_bytes: int  # of slot.pixels
    faults: list[str]  # a sentence for each image that was replaced


class BatchReader(Dataset[Filled]):
    """`reader[Numbered(slot, plan)]` fills the slot.

    Map-style over plans, so that DataLoader keeps their order.
    """

    def __init__(
        self,
        index: ShardIndex,
        slots: Slots,
        augment: AugmentConfig,
        *,
        seed: int,
        resize: Resize,
        packed: bool = False,
        colour: bool = True,
        cache: str | None = None,
    ) -> None:
        """packed: leave geometry to the device, and hand over decoded images. colour: change colours here."""
        self.index, self.slots, self.augment, self.seed, self.resize = index, slots, augment, seed, resize
        self.packed, self.colour, self.cache_folder = packed, colour, cache
        self.shards, self.arrivals = ShardReader(index), Arrivals(index)
        self._trained = ~(index.arrays["difficult"] | index.arrays["crowd"])
        self._generators = Generators(seed)
        self._cache: DecodedCache | None = None
        self._scratch: Image | None = None

    def __getitem__(self, numbered: Numbered) -> Filled:
        slot, plan = self.slots[numbered.slot], numbered.plan
        side = plan.side
        faults: list[str] = []
        filled = 0
        rows = list(enumerate(zip(plan.samples.tolist(), plan.epochs.tolist(), strict=True)))
        placements = [self._draw(slot, row, sample, sample, epoch, plan) for row, (sample, epoch) in rows]
        for row, (sample, epoch) in rows:
            image, source = self._image(sample, slot.pixels[filled:], plan.augmented, faults)
            if source != sample:
                placements[row] = self._draw(slot, row, source, sample, epoch, plan)
            placement = placements[row]
            if self.packed:
                slot.layout[row] = layout_row(filled, image.shape[1], placement)
                filled += image.size
                continue
            canvas = slot.pixels[filled : filled + side * side * 3].reshape(side, side, 3)
            filled += canvas.size
            place_image(image, placement, canvas)
            if self.colour and plan.augmented:
                distort_colour(canvas, Colour(*slot.colours[row].tolist()))
        return Filled(filled, faults)

    def _draw(self, slot: Slot, row: int, source: int, sample: int, epoch: int, plan: BatchPlan) -> Placement:
        """All that is random about a sample, and its truths. source: the image that is shown for it."""
        num_slots, side = len(slot.truths[row]), plan.side
        arrays, objects = self.index.arrays, self.index.objects(source)
        boxes, labels = arrays["boxes_xyxy_px"][objects], arrays["labels"][objects]
        width, height = self.index.size_px(source)
        if not plan.augmented:
            placement = whole_image(width, height, side, self.resize)
            slot.colours[row], slot.truths[row] = Colour(), truth_slots(boxes[:0], labels[:0], num_slots)
            return placement
        rng = self._generators(Purpose.PLACEMENT, epoch, sample)
        placement = random_placement(width, height, side, self.augment, rng)
        slot.colours[row] = random_colour(self.augment, self._generators(Purpose.COLOUR, epoch, sample))
        trained = self._trained[objects]
        boxes, kept = clip_boxes(place_boxes(boxes[trained], placement, side), self.augment.min_size)
        boxes, labels = boxes[kept], labels[trained][kept]
        # as darknet: which of two objects wins a slot changes by epoch
        shuffled = self._generators(Purpose.OBJECT_ORDER, epoch, sample).permutation(len(labels))
        slot.truths[row] = truth_slots(boxes[shuffled], labels[shuffled], num_slots)
        return placement

    def _image(self, sample: int, room: Image, augmented: bool, faults: list[str]) -> tuple[Image, int]:
        """The decoded image and its number: an unreadable one is replaced by the next in the shards."""
        for step in range(self.index.num_samples):
            source = (sample + step) % self.index.num_samples
            self.arrivals.wait_for(source)
            try:
                return self._decoded(source, room), source
            except ValueError as error:
                faults.append(f"{self.index.shard_of(source).name}/{self.index.key(source)}: {error}")
                if not augmented:
                    raise ValueError(f"cannot evaluate: {faults[-1]}; run `python -m data.shards verify`") from None
        raise ValueError(f"no image in {self.index.folder} can be decoded; run `python -m data.shards verify`")

    def _decoded(self, source: int, room: Image) -> Image:
        """In `room` where images are handed over packed; else where it lasts until the next one."""
        width, height = self.index.size_px(source)
        size = width * height * 3
        cache = self._open_cache()
        cached = cache.get(source) if cache else None
        if cached is not None and not self.packed:
            return cached
        place = (room if self.packed else self._scratch_of(size))[:size]
        if place.size < size:  # only among the largest images of the set, one of them in place of an unreadable one
            raise ValueError(f"no room in the batch for another image of {width}x{height} px")
        place = place.reshape(height, width, 3)
        if cached is not None:
            place[:] = cached
            return place
        decode(self.shards.image(source), place)
        if cache:
            cache.put(source, place)
        return place

    def _scratch_of(self, size: int) -> Image:
        if self._scratch is None or self._scratch.size < size:
            self._scratch = np.empty(size, np.uint8)
        return self._scratch

    def _open_cache(self) -> DecodedCache | None:
        if self._cache is None and self.cache_folder is not None:
            self._cache = DecodedCache(self.index, Path(self.cache_folder))
        return self._cache
