"""A plan -> a batch, written into a slot: read by offset, decode, place, change colours.

    BatchPlan -> Composer (what goes where) -> ShardReader.image -> decode -> place, flip, colour -> Slot

A batch is a function of plan, seed and shards: who makes it, and when, makes no difference.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from data.images.augment import AugmentConfig
from data.images.colour import Colour, distort_colour
from data.images.files.decode import Image, decode
from data.images.geometry import Canvas, GreyLevel, Resize, place_image
from data.images.mosaic import Piece
from data.images.on_device import layout_row
from data.loading.batch import truth_slots
from data.loading.filling.compose import Composer
from data.loading.filling.decoded_cache import DecodedCache
from data.loading.filling.order import BatchPlan
from data.loading.filling.slots import Slot, Slots
from data.remote.arrivals import Arrivals
from data.shards.index import ShardIndex
from data.shards.read import ShardReader


class SlottedPlan(NamedTuple):
    """A plan, and the slot for its batch."""

    slot: int
    plan: BatchPlan


class Filled(NamedTuple):
    """What was written into a slot."""

    num_bytes: int  # of slot.pixels
    faults: list[str]  # one sentence for each replaced image


class BatchReader(Dataset[Filled]):
    """`reader[SlottedPlan(slot, plan)]` fills the slot.

    A map-style dataset over plans, so that DataLoader keeps their order.
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
        level: GreyLevel = np.uint8,
        cache: str | None = None,
    ) -> None:
        """packed: leave geometry to the device and return decoded images. colour: change colours here."""
        self.index, self.slots, self.compose = index, slots, Composer(index, augment, seed=seed, resize=resize)
        self.packed, self.colour, self.level, self.cache_folder = packed, colour, np.dtype(level), cache
        self.shards, self.arrivals = ShardReader(index), Arrivals(index)
        self._cache: DecodedCache | None = None
        self._scratch: Image | None = None

    def __getitem__(self, slotted: SlottedPlan) -> Filled:
        slot, plan = self.slots[slotted.slot], slotted.plan
        self._open_cache()  # its refusal is no fault of an image
        return self._pack(slot, plan) if self.packed else self._place(slot, plan)

    def _pack(self, slot: Slot, plan: BatchPlan) -> Filled:
        """Writes decoded images one after the other, and where the device is to lay them."""
        faults, filled = list[str](), 0
        for row, sample in enumerate(plan.samples.tolist()):
            image, source = self._image(sample, slot.pixels[filled:], plan.augmented, faults)
            (piece,) = self._draw(slot, plan, row, {sample: source})
            slot.layout[row] = layout_row(filled, image.shape[1], piece.placement)
            filled += image.size
        return Filled(filled, faults)

    def _place(self, slot: Slot, plan: BatchPlan) -> Filled:
        """Writes canvases. Each image is decoded once and laid wherever the batch shows it."""
        rows, (width, height) = len(plan.samples), plan.size_px
        num_bytes = rows * height * width * 3 * self.level.itemsize
        canvases = slot.pixels[:num_bytes].view(self.level).reshape(rows, height, width, 3)
        faults, shown = list[str](), dict[int, int]()
        drawn = [self._draw(slot, plan, row, shown) for row in range(rows)]
        rows_of: dict[int, list[int]] = {}
        for row, pieces in enumerate(drawn):
            for piece in pieces:
                rows_of.setdefault(piece.sample, []).append(row)
        missing, overlays = [len(pieces) for pieces in drawn], dict[int, Image]()
        for sample, places in rows_of.items():
            image, shown[sample] = self._image(sample, slot.pixels, plan.augmented, faults)
            for row in dict.fromkeys(places):
                if shown[sample] != sample:
                    drawn[row] = self._draw(slot, plan, row, shown)
                for piece in drawn[row]:
                    if piece.sample == sample:
                        self._lay(image, piece, canvases[row], row, overlays)
                        missing[row] -= 1
                if not missing[row]:  # while its pixels are still in the processor's cache
                    self._finish(canvases[row], overlays.pop(row, None), slot.colours[row], plan.augmented)
        return Filled(num_bytes, faults)

    def _draw(self, slot: Slot, plan: BatchPlan, row: int, shown: Mapping[int, int]) -> list[Piece]:
        """Writes truths and colours. shown: {unreadable sample: the one shown in its place}."""
        pieces, slot.colours[row], boxes, labels = self.compose(plan, row, shown)
        slot.truths[row] = truth_slots(boxes, labels, len(slot.truths[row]))
        return pieces

    def _lay(self, image: Image, piece: Piece, canvas: Canvas, row: int, overlays: dict[int, Image]) -> None:
        if piece.blended:
            canvas = overlays[row] = np.empty_like(canvas)
        x1, y1, x2, y2 = piece.room
        place_image(image, piece.placement, canvas[y1:y2, x1:x2])

    def _finish(self, canvas: Image, overlay: Image | None, colour: NDArray[np.float32], augmented: bool) -> None:
        if overlay is not None:
            cv2.addWeighted(canvas, 0.5, overlay, 0.5, 0, dst=canvas)
        if self.colour and augmented:
            distort_colour(canvas, Colour(*colour.tolist()))

    def _image(self, sample: int, room: Image, augmented: bool, faults: list[str]) -> tuple[Image, int]:
        """The decoded image and its number; an unreadable image is replaced by the next one in the shards."""
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
        """Decodes into `room` if images are packed; otherwise into scratch memory that lasts until the next one."""
        width, height = self.index.size_px(source)
        size = width * height * 3
        cache = self._cache
        cached = cache.get(source) if cache else None
        if cached is not None and not self.packed:
            return cached
        place = (room if self.packed else self._scratch_of(size))[:size]
        if place.size < size:  # only if one of the set's largest images replaces an unreadable one
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

    def _open_cache(self) -> None:
        if self._cache is None and self.cache_folder is not None:
            self._cache = DecodedCache(self.index, Path(self.cache_folder))
