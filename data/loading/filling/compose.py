"""Composes canvases: which images, where, in which colours, and the boxes. All of the randomness, no pixels."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.images.augment import AugmentConfig, Draw, canvas_colour, canvas_placement
from data.images.colour import Colour
from data.images.geometry import Resize, Room, Size, whole_image
from data.images.mosaic import Piece, piece_boxes, random_rooms, random_tile
from data.loading.filling.order import BatchPlan
from data.randomness import Generators, Purpose
from data.shards.index import ShardIndex

NONE: Mapping[int, int] = {}


class Canvas(NamedTuple):
    pieces: list[Piece]  # together they cover it; a blended one comes last
    colour: Colour
    boxes_xyxy: NDArray[np.float32]  # [N, 4] fractions of the canvas
    labels: NDArray[np.integer]  # [N]


class Composer:
    """`compose(plan, row)`: a function of (seed, epoch, sample) and of the sample's group in the stream."""

    def __init__(self, index: ShardIndex, augment: AugmentConfig, *, seed: int, resize: Resize) -> None:
        self.index, self.augment, self.resize = index, augment, resize
        self._draws = Generators(seed)

    def __call__(self, plan: BatchPlan, row: int, shown: Mapping[int, int] = NONE) -> Canvas:
        """shown: {unreadable sample: the one shown in its place}."""
        sample, epoch, size = int(plan.samples[row]), int(plan.epochs[row]), plan.size_px
        if not plan.augmented:
            placement = whole_image(*self.index.size_px(shown.get(sample, sample)), size, self.resize)
            whole = Piece(sample, placement, Room(0, 0, *size))
            return Canvas([whole], Colour(), *self._truths(whole, size, shown))
        pieces = self._pieces(plan, row, shown)
        boxes, labels = self._truths(pieces[0], size, shown)
        for piece in pieces[1:]:
            more_boxes, more_labels = self._truths(piece, size, shown)
            boxes, labels = np.concatenate([boxes, more_boxes]), np.concatenate([labels, more_labels])
        draw = self._draw(epoch, sample)
        colour = canvas_colour(self.augment, draw)
        # as in darknet: which of two objects wins a slot changes by epoch
        order = draw(Purpose.OBJECT_ORDER).permutation(len(labels))
        return Canvas(pieces, colour, boxes[order], labels[order])

    def _draw(self, epoch: int, sample: int) -> Draw:
        return lambda purpose: self._draws(purpose, epoch, sample)

    def _pieces(self, plan: BatchPlan, row: int, shown: Mapping[int, int]) -> list[Piece]:
        sample, augment = int(plan.samples[row]), self.augment
        draw = self._draw(int(plan.epochs[row]), sample)
        if plan.partners is None:
            return [self._single(sample, plan.side, draw, Purpose.PLACEMENT, shown)]
        partners, pieces = plan.partners[row], list[Piece]()
        if augment.mosaic:
            rng = draw(Purpose.MOSAIC)
            if rng.random() < augment.mosaic:
                pieces = self._mosaic(sample, partners, plan.side, rng, shown)
        if not pieces:
            pieces = [self._single(sample, plan.side, draw, Purpose.PLACEMENT, shown)]
        if augment.mixup:
            chance, choice = draw(Purpose.MIXUP).random(2).tolist()
            if chance < augment.mixup:
                other = int(partners[int(choice * len(partners))])
                single = self._single(other, plan.side, draw, Purpose.MIXUP_PLACEMENT, shown)
                pieces.append(single._replace(blended=True))
        return pieces

    def _single(self, image: int, side: int, draw: Draw, purpose: Purpose, shown: Mapping[int, int]) -> Piece:
        """One image on the whole canvas."""
        width, height = self.index.size_px(shown.get(image, image))
        placement = canvas_placement(width, height, side, self.augment, draw, purpose)
        return Piece(image, placement, Room(0, 0, side, side))

    def _mosaic(
        self, sample: int, partners: NDArray[np.int64], side: int, rng: np.random.Generator, shown: Mapping[int, int]
    ) -> list[Piece]:
        rooms = random_rooms(side, rng)
        images = rng.permutation(partners)[: len(rooms) - 1].tolist()
        images.insert(int(rng.integers(len(rooms))), sample)
        pieces = []
        for image, room in zip(images, rooms, strict=True):
            width, height = self.index.size_px(shown.get(image, image))
            pieces.append(Piece(image, random_tile(width, height, room, side, self.augment, rng), room))
        return pieces

    def _truths(
        self, piece: Piece, size: Size, shown: Mapping[int, int]
    ) -> tuple[NDArray[np.float32], NDArray[np.integer]]:
        arrays, objects = self.index.arrays, self.index.objects(shown.get(piece.sample, piece.sample))
        trained = self.index.trained(objects)
        boxes, labels = arrays["boxes_xyxy_px"][objects][trained], arrays["labels"][objects]
        boxes, kept = piece_boxes(boxes, piece, size, self.augment)
        return boxes[kept], labels[trained][kept]
