"""Augmentation is darknet's: objects stay under their boxes, and every quantity is drawn as darknet draws it.

darknet's loops are written down here once more (src/data.c and src/image.c, of August 2018 and of November 2016), and
what comes out of the reader is compared with them, distribution by distribution. Where the two are known to differ:

- darknet places pixels at whole px and boxes at fractions; here boxes go through the same integers as pixels;
- the crops of 2016 begin and end at whole px of the image; here they may lie between, until they are rounded to pixels;
- `randomize_boxes` swaps each box with one drawn from all, so some orders are likelier; here all are equally likely;
- darknet cuts the list of boxes off before it drops thin ones, here they are dropped first;
- in 2016 a dropped box left a hole in the list, where the loss stopped reading: boxes behind it were lost by accident.
"""

import itertools
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from data.images.augment import AugmentConfig
from data.images.boxes import xyxy_from_cxcywh
from data.images.colour import Colour, distort_colour
from data.images.on_device import distort_colours, place_packed
from data.loading.filling.order import BatchPlan
from data.loading.filling.reader import BatchReader, SlottedPlan
from data.loading.filling.slots import Slots
from data.records import Annotations, Record
from data.shards.index import ShardIndex
from data.shards.writing.write import write_shards

POLICIES = {
    "2018": AugmentConfig(policy="place", jitter=0.3),
    "2017": AugmentConfig(policy="place", jitter=0.3, scale_min=0.25, scale_max=2),
    "2016": AugmentConfig(policy="crop", jitter=0.2, min_size=0.01),
}
NUM_DRAWS = 20_000
TRUTH_SLOTS = 10
FURTHEST = 0.02  # between two distributions; 20,000 draws each of the same one are nearer, but for 1 in 1,400 times

Boxes = list[tuple[float, float, float, float]]


def write_set(folder: Path, images: list[tuple[NDArray[np.uint8], Boxes]]) -> ShardIndex:
    """The objects of an image have the labels 0, 1, 2 ..."""
    folder.mkdir(exist_ok=True)
    records = []
    for number, (image, boxes) in enumerate(images):
        path = folder / f"image{number}.png"
        cv2.imwrite(str(path), image[..., ::-1])
        edges = np.array(boxes, np.float64).reshape(-1, 4)
        none, areas = np.zeros(len(boxes), np.bool_), (edges[:, 2:] - edges[:, :2]).prod(1)
        labels = np.arange(len(boxes), dtype=np.int16)
        shape = image.shape[1], image.shape[0]
        records.append(Record(path.stem, path.stem, path, *shape, edges, areas, labels, none, none))
    classes = tuple(f"object {number}" for number in range(9))
    return write_shards(Annotations("", classes, tuple(range(1, 10)), records, {}), folder / "shards", workers=1)


def reader(index: ShardIndex, config: AugmentConfig, side: int, batch: int, **options: Any) -> BatchReader:
    largest = max(index.arrays["widths"].astype(int) * index.arrays["heights"])
    slots = Slots(1, batch, TRUTH_SLOTS, batch * max(side * side, largest) * 3)
    return BatchReader(index, slots, config, seed=1, resize="stretch", **options)


# ----------------------------------------------------------------------------------------- objects under their boxes

SIDES = range(320, 609, 32)
PALETTE = [(230, 30, 30), (30, 200, 30), (40, 60, 240)]  # of the objects; the right half of each is darker
BACKGROUND = 128


def picture(rng: np.random.Generator) -> tuple[NDArray[np.uint8], Boxes]:
    """Three objects that do not touch each other or the border, each red, green or blue, bright left and dark right."""
    width, height = rng.integers(150, 700, 2).tolist()
    image = np.full((height, width, 3), BACKGROUND, np.uint8)
    boxes: Boxes = []
    for number, colour in enumerate(PALETTE):  # in three strips side by side
        low, high = 4 + number * width // 3, (number + 1) * width // 3 - 4
        x1, y1 = int(rng.integers(low, high - 22)), int(rng.integers(4, height - 30))
        x2, y2 = int(rng.integers(x1 + 20, high)), int(rng.integers(y1 + 20, height - 4))
        middle = (x1 + x2) // 2
        image[y1:y2, x1:middle] = colour
        image[y1:y2, middle:x2] = np.array(colour) // 2
        boxes.append((x1, y1, x2, y2))
    return image, boxes


def objects_at(canvas: NDArray[np.uint8]) -> NDArray[np.int64]:
    """[S, S] the object of which a pixel is at least half, -1 where there is none."""
    known = [(BACKGROUND,) * 3, *PALETTE, *np.array(PALETTE) // 2]
    distances = [((canvas.astype(np.int32) - np.array(colour, np.int32)) ** 2).sum(-1) for colour in known]
    return np.array([-1, 0, 1, 2, 0, 1, 2])[np.argmin(distances, axis=0)]


@pytest.mark.parametrize("packed", [False, True], ids=["placed by the worker", "placed by the device"])
@pytest.mark.parametrize("policy", POLICIES)
def test_objects_are_found_under_their_boxes(tmp_path: Path, policy: str, packed: bool) -> None:
    """No pixel of an object lies outside its box, none inside the box is not of it, but for one px at the edges."""
    rng = np.random.default_rng(0)
    index, batch = write_set(tmp_path, [picture(rng) for _ in range(4)]), 4
    compared, mirrored, cut = 0, 0, 0
    for round_, side in enumerate(SIDES):
        read = reader(index, POLICIES[policy], side, batch, packed=packed, colour=False)
        plan = BatchPlan(np.arange(batch), np.full(batch, round_), side)
        read[SlottedPlan(0, plan)]
        slot = read.slots[0]
        canvases = slot.pixels[: batch * side * side * 3].reshape(batch, side, side, 3)
        if packed:
            canvases = place_packed(torch.from_numpy(slot.pixels), torch.from_numpy(slot.layout), side).numpy()
        for canvas, truths in zip(canvases, slot.truths, strict=True):
            seen, boxes = objects_at(canvas), {int(truth[4]): xyxy_from_cxcywh(truth[:4]) * side for truth in truths}
            for label in range(3):
                rows, columns = np.nonzero(seen == label)
                if label not in boxes:
                    assert not len(rows) or min(np.ptp(rows), np.ptp(columns)) < 2
                    continue
                x1, y1, x2, y2 = boxes[label].tolist()
                if min(x2 - x1, y2 - y1) < 4:
                    continue
                inside = seen[int(np.ceil(y1)) + 1 : int(y2) - 1, int(np.ceil(x1)) + 1 : int(x2) - 1]
                assert (inside == label).all()
                assert x1 - 1 <= columns.min() and columns.max() + 1 <= x2 + 1
                assert y1 - 1 <= rows.min() and rows.max() + 1 <= y2 + 1
                middle = canvas[int((y1 + y2) / 2)].max(-1)
                whole = x1 > 1 and x2 < side - 1
                compared += 1
                cut += not whole
                if whole:
                    mirrored += int(middle[int(x1 + 0.75 * (x2 - x1))]) > int(middle[int(x1 + 0.25 * (x2 - x1))])
    assert compared > 80 and (policy == "2018" or cut > 5)
    assert 0.3 < mirrored / (compared - cut) < 0.7


# ------------------------------------------------------------------------------------------- darknet's loops, again

WIDTH, HEIGHT, SIDE = 500, 375, 608
OBJECTS: Boxes = [
    (60, 40, 200, 160),
    (0, 0, 80, 80),  # at a corner, where a crop cuts
    (480, 300, 500, 375),
    (300, 100, 400, 100.5),  # around the least height: 0.0013 of the image
    (100, 200, 250, 203.8),  # and that of 2016: 0.0101
]


class Draw(NamedTuple):
    """What one turn of a loop decides, in fractions of the canvas."""

    left: float
    top: float
    width: float  # of the whole image
    height: float
    flip: int
    hue: float
    saturation: float
    exposure: float
    truths: dict[int, tuple[float, float, float, float]]  # object -> x y w h


class Darknet:
    """src/data.c and src/utils.c, line by line."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def rand_uniform(self, low: float, high: float) -> float:
        if high < low:
            low, high = high, low
        return float(self.rng.random()) * (high - low) + low

    def rand_scale(self, most: float) -> float:
        scale = self.rand_uniform(1, most)
        if self.rng.integers(2):
            return scale
        return 1 / scale

    def load_data_detection(self, jitter: float, least: float, scales: tuple[float, float]) -> Draw:
        """August 2018; with scales .25, 2 that of 2017."""
        dw, dh = jitter * WIDTH, jitter * HEIGHT
        new_ar = (WIDTH + self.rand_uniform(-dw, dw)) / (HEIGHT + self.rand_uniform(-dh, dh))
        scale = self.rand_uniform(*scales)
        if new_ar < 1:
            nh = scale * SIDE
            nw = nh * new_ar
        else:
            nw = scale * SIDE
            nh = nw / new_ar
        dx = self.rand_uniform(0, SIDE - nw)
        dy = self.rand_uniform(0, SIDE - nh)
        colours = self.random_distort_image()
        flip = int(self.rng.integers(2))
        truths = self.fill_truth(flip, -dx / SIDE, -dy / SIDE, nw / SIDE, nh / SIDE, least)
        return Draw(dx / SIDE, dy / SIDE, nw / SIDE, nh / SIDE, flip, *colours, truths)

    def load_data_region(self, jitter: float, least: float, _: tuple[float, float]) -> Draw:
        """November 2016, the same in load_data_detection."""
        dw, dh = int(WIDTH * jitter), int(HEIGHT * jitter)
        pleft, pright = int(self.rand_uniform(-dw, dw)), int(self.rand_uniform(-dw, dw))
        ptop, pbot = int(self.rand_uniform(-dh, dh)), int(self.rand_uniform(-dh, dh))
        sx, sy = (WIDTH - pleft - pright) / WIDTH, (HEIGHT - ptop - pbot) / HEIGHT
        flip = int(self.rng.integers(2))
        dx, dy = (pleft / WIDTH) / sx, (ptop / HEIGHT) / sy
        colours = self.random_distort_image()
        return Draw(-dx, -dy, 1 / sx, 1 / sy, flip, *colours, self.fill_truth(flip, dx, dy, 1 / sx, 1 / sy, least))

    def random_distort_image(self) -> tuple[float, float, float]:
        return self.rand_uniform(-0.1, 0.1), self.rand_scale(1.5), self.rand_scale(1.5)

    def fill_truth(
        self, flip: int, dx: float, dy: float, sx: float, sy: float, least: float
    ) -> dict[int, tuple[float, float, float, float]]:
        truths = {}
        for number, (x1, y1, x2, y2) in enumerate(OBJECTS):
            left, right = x1 / WIDTH * sx - dx, x2 / WIDTH * sx - dx
            top, bottom = y1 / HEIGHT * sy - dy, y2 / HEIGHT * sy - dy
            if flip:
                left, right = 1 - right, 1 - left
            left, right = min(max(left, 0), 1), min(max(right, 0), 1)
            top, bottom = min(max(top, 0), 1), min(max(bottom, 0), 1)
            w, h = right - left, bottom - top
            if w < least or h < least:
                continue
            truths[number] = ((left + right) / 2, (top + bottom) / 2, w, h)
        return truths


def rgb_to_hsv(r: float, g: float, b: float) -> tuple[float, float, float]:
    """src/image.c"""
    most, least = max(r, g, b), min(r, g, b)
    delta = most - least
    if most == 0:
        return 0, 0, most
    if delta == 0:
        return 0, 0, most
    if r == most:
        h = (g - b) / delta
    elif g == most:
        h = 2 + (b - r) / delta
    else:
        h = 4 + (r - g) / delta
    if h < 0:
        h += 6
    return h / 6, delta / most, most


def hsv_to_rgb(h: float, s: float, v: float) -> tuple[float, float, float]:
    """src/image.c"""
    h = 6 * h
    if s == 0:
        return v, v, v
    index = int(np.floor(h))
    f = h - index
    p, q, t = v * (1 - s), v * (1 - s * f), v * (1 - s * (1 - f))
    return [(v, t, p), (q, v, p), (p, v, t), (p, q, v), (t, p, v)][index] if index < 5 else (v, p, q)


def distort_image(pixel: tuple[float, float, float], hue: float, sat: float, val: float) -> NDArray[np.float64]:
    """src/image.c, and constrain_image after it."""
    h, s, v = rgb_to_hsv(*pixel)
    s, v = s * sat, v * val
    h = h + hue
    if h > 1:
        h -= 1
    if h < 0:
        h += 1
    return np.clip(hsv_to_rgb(h, s, v), 0, 1)


# --------------------------------------------------------------------------------------------------- distributions


class Ours:
    """NUM_DRAWS epochs of one image, as the reader gives them."""

    def __init__(self, folder: Path, config: AugmentConfig) -> None:
        index = write_set(folder, [(np.full((HEIGHT, WIDTH, 3), 90, np.uint8), OBJECTS)])
        batch = 100
        read = reader(index, config, SIDE, batch, packed=True, cache=str(folder / "cache"))
        layouts, colours, truths = [], [], []
        for first in range(0, NUM_DRAWS, batch):
            read[SlottedPlan(0, BatchPlan(np.zeros(batch, np.int64), np.arange(first, first + batch), SIDE))]
            for kept, given in zip((layouts, colours, truths), read.slots[0][1:][::-1], strict=True):
                kept.append(given.copy())
        self.layouts = np.concatenate(layouts)
        self.colours, self.truths = np.concatenate(colours).astype(np.float64), np.concatenate(truths)

    @property
    def columns(self) -> dict[str, NDArray[np.float64]]:
        """Where the whole image would lie, from the part of it that is on the canvas."""
        sx1, sy1, sx2, sy2, tx1, ty1, tx2, ty2, flip = self.layouts[:, 2:11].T.astype(np.float64)
        zoom_x, zoom_y = (tx2 - tx1) / (sx2 - sx1), (ty2 - ty1) / (sy2 - sy1)
        found = {"left": tx1 - sx1 * zoom_x, "top": ty1 - sy1 * zoom_y}
        found |= {"width": WIDTH * zoom_x, "height": HEIGHT * zoom_y}
        found = {name: values / SIDE for name, values in found.items()}
        return found | {"flip": flip} | dict(zip(("hue", "saturation", "exposure"), self.colours.T, strict=True))

    def truths_of(self, number: int) -> NDArray[np.float64]:
        """[K, 4] cx cy w h of an object in the epochs in which it is there."""
        return self.truths[self.truths[..., 4] == number][:, :4].astype(np.float64)


@pytest.fixture(scope="module", params=POLICIES)
def draws(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Ours, list[Draw]]:
    config = POLICIES[request.param]
    darknet = Darknet(seed=2)
    loop = darknet.load_data_region if request.param == "2016" else darknet.load_data_detection
    theirs = [loop(config.jitter, config.min_size, (config.scale_min, config.scale_max)) for _ in range(NUM_DRAWS)]
    return request.param, Ours(tmp_path_factory.mktemp("draws") / "set", config), theirs


def distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Kolmogorov and Smirnov's: the largest difference of the two distribution functions."""
    places = np.concatenate([a, b])
    below = [np.searchsorted(np.sort(values), places, side="right") / len(values) for values in (a, b)]
    return float(np.abs(below[0] - below[1]).max())


@pytest.mark.parametrize("name", ["left", "top", "width", "height", "flip", "hue", "saturation", "exposure"])
def test_each_quantity_is_drawn_as_darknet_draws_it(draws: tuple[str, Ours, list[Draw]], name: str) -> None:
    _, ours, theirs = draws
    assert distance(ours.columns[name].round(3), np.array([getattr(draw, name) for draw in theirs]).round(3)) < FURTHEST


def test_quantities_hang_together_as_darknets_do(draws: tuple[str, Ours, list[Draw]]) -> None:
    """Edges far away, shape, area; and correlations, which are nought but among the four of the placement."""
    _, ours, theirs = draws
    mine, other = ours.columns, {name: np.array([getattr(draw, name) for draw in theirs]) for name in ours.columns}
    for combine in (
        lambda c: c["left"] + c["width"],
        lambda c: c["top"] + c["height"],
        lambda c: c["width"] / c["height"],
        lambda c: c["width"] * c["height"],
        lambda c: c["left"] - c["top"],
    ):
        assert distance(combine(mine).round(3), combine(other).round(3)) < FURTHEST
    correlations = [
        np.corrcoef([columns[name] + 1e-9 * np.arange(NUM_DRAWS) for name in ours.columns]) for columns in (mine, other)
    ]
    np.testing.assert_allclose(*correlations, atol=0.04)


@pytest.mark.parametrize("number", range(len(OBJECTS)))
def test_boxes_move_and_vanish_as_darknets_do(draws: tuple[str, Ours, list[Draw]], number: int) -> None:
    policy, ours, theirs = draws
    mine = ours.truths_of(number)
    other = np.array([draw.truths[number] for draw in theirs if number in draw.truths]).reshape(-1, 4)
    assert abs(len(mine) - len(other)) / NUM_DRAWS < 0.015
    if policy == "2016":
        assert (number == 3) == (len(other) == 0)  # thinner than .01
    if len(other) > NUM_DRAWS / 10:
        for axis in range(4):
            assert distance(mine[:, axis].round(3), other[:, axis].round(3)) < FURTHEST


def test_some_boxes_are_dropped_for_being_thin(draws: tuple[str, Ours, list[Draw]]) -> None:
    """So that the comparison above says something about the rule."""
    policy, ours, _ = draws
    thin = 4 if policy == "2016" else 3
    assert NUM_DRAWS * 0.05 < len(ours.truths_of(thin)) < NUM_DRAWS * 0.95
    assert len(ours.truths_of(0)) > NUM_DRAWS * 0.8


def test_any_order_of_the_boxes_is_as_likely(draws: tuple[str, Ours, list[Draw]]) -> None:
    """Orders of the three objects that are nearly always there, all six orders."""
    _, ours, _ = draws
    labels = ours.truths[..., 4].astype(np.int64)
    orders = [tuple(row[(row >= 0) & (row < 3)].tolist()) for row in labels]
    whole = [order for order in orders if len(order) == 3]
    assert len(whole) > NUM_DRAWS / 4
    for order in itertools.permutations(range(3)):
        share = whole.count(order) / len(whole)
        assert share == pytest.approx(1 / 6, abs=5 * (1 / 6 * 5 / 6 / len(whole)) ** 0.5)


def test_boxes_fill_the_slots_from_the_first_on(draws: tuple[str, Ours, list[Draw]]) -> None:
    _, ours, _ = draws
    present = ours.truths[..., 4] >= 0
    assert (np.diff(present.astype(int), axis=1) <= 0).all()
    assert (ours.truths[~present][:, :4] == 0).all()


# ----------------------------------------------------------------------------------------------------------- colour


def test_colours_change_as_in_darknet() -> None:
    """Strong colours more than photographs have: the device to rounding, the workers by less than a grey level.

    Their hue has 256 steps, and one step changes a pure colour by six levels.
    """
    rng = np.random.default_rng(0)
    pixels = np.concatenate([rng.integers(0, 256, (400, 3)), 255 * rng.integers(0, 2, (40, 3)), [[9, 9, 9]] * 8])
    apart = []
    for _ in range(40):
        darknet = Darknet(int(rng.integers(1000)))
        colour = Colour(*darknet.random_distort_image())
        exact = np.array([distort_image(pixel, *colour) for pixel in (pixels / 255).tolist()])
        device = distort_colours(torch.from_numpy(pixels[None, None] / 255), torch.tensor([colour]).double())
        np.testing.assert_allclose(device[0, 0].numpy(), exact, atol=1e-6)
        canvas = pixels[None].astype(np.uint8)
        distort_colour(canvas, colour)
        apart.append(np.abs(canvas[0] - exact * 255))
    assert np.mean(apart) < 0.8 and np.quantile(apart, 0.99) < 8
