"""A contact sheet: images of a set with their truths, and beside each how training sees it.

Pictures come from the reader that training uses, so a box that is off here is off in training.
"""

from pathlib import Path

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from data.files import replacing
from data.images.boxes import xyxy_from_cxcywh
from data.images.geometry import Resize, place_boxes, whole_image
from data.loading.batch import needed_slots
from data.loading.config import DataConfig
from data.loading.filling.order import BatchPlan, Order, partners
from data.loading.filling.reader import BatchReader, SlottedPlan
from data.loading.filling.slots import Slots
from data.randomness import Purpose, random_bits
from data.shards.index import ShardIndex
from data.view.drawing import draw_truths
from launch.config_file import read_yaml
from launch.keys import text_keys

Image = NDArray[np.uint8]

GAP_PX = 8
LINE_PX = 18  # of text above a picture
NUM_ACROSS = 6  # pictures
PAPER, INK = 255, 30


def read_data_config(path: Path) -> DataConfig:
    """The section `data` of a run's config."""
    section = read_yaml(path, text_keys(DataConfig, "data.")).get("data")
    if not isinstance(section, DictConfig):
        raise ValueError(f"{path}: expected a config with a section `data`, such as those of configs/")
    try:
        config = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(DataConfig), section))
    except OmegaConfBaseException as error:
        raise ValueError(f"{path}: {str(error).strip().partition(chr(10))[0]}") from None
    assert isinstance(config, DataConfig)
    return config


def sheet(index: ShardIndex, config: DataConfig, *, side: int, count: int, augmented: int, seed: int) -> Image:
    """[H, W, 3] `count` images chosen by `seed`: as evaluation sees them, then as the first `augmented` epochs do."""
    if min(count, side) < 1 or augmented < 0:
        raise ValueError(f"count={count}, side={side}, augment={augmented}: expected at least 1, 1 and 0")
    chosen = np.argsort(random_bits(index.num_samples, Purpose.CONTACT_SHEET, seed), kind="stable")[:count]
    slots = Slots(1, 1, needed_slots(index, config.augment), side * side * 3)
    reader = BatchReader(index, slots, config.augment, seed=seed, resize=config.resize)
    order = Order(index.shard_sizes, seed, config.window)
    rows: list[list[Image]] = [[]]
    for sample in chosen.tolist():
        pictures = [
            _whole(reader, sample, side, config.resize),
            *(_augmented(reader, _plan(order, sample, epoch, side, config)) for epoch in range(augmented)),
        ]
        if rows[-1] and len(rows[-1]) + len(pictures) > NUM_ACROSS:
            rows.append([])
        rows[-1] += pictures
    across = max(len(row) for row in rows)
    height, width = rows[0][0].shape[:2]
    paper = np.full((len(rows) * (height + GAP_PX), across * (width + GAP_PX), 3), PAPER, np.uint8)
    for down, row in enumerate(rows):
        for right, picture in enumerate(row):
            top, left = down * (height + GAP_PX), right * (width + GAP_PX)
            paper[top : top + height, left : left + width] = picture
    return paper


def save(sheet: Image, path: Path) -> None:
    """Writes PNG or JPEG, as the suffix says."""
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ValueError(f"{path}: expected the name of a .png or .jpg file; rename it")
    with replacing(path) as file:
        PIL.Image.fromarray(sheet).save(file, "PNG" if path.suffix.lower() == ".png" else "JPEG", quality=92)


def _whole(reader: BatchReader, sample: int, side: int, resize: Resize) -> Image:
    index, arrays, objects = reader.index, reader.index.arrays, reader.index.objects(sample)
    image, _ = _read(reader, BatchPlan(np.array([sample]), np.zeros(1, np.int64), side, augmented=False))
    width, height = index.size_px(sample)
    boxes = place_boxes(arrays["boxes_xyxy_px"][objects], whole_image(width, height, side, resize), side) * side
    marks = arrays["difficult"][objects], arrays["crowd"][objects]
    drawn = draw_truths(image, boxes, arrays["labels"][objects], *marks, index.classes)
    return _captioned(drawn, f"{index.key(sample)}  {width}x{height}")


def _plan(order: Order, sample: int, epoch: int, side: int, config: DataConfig) -> BatchPlan:
    """A plan as in the middle of a run: with the samples that share the canvas in this epoch."""
    first = epoch * order.num_samples
    position = first + int(np.flatnonzero(order[first : first + order.num_samples][0] == sample)[0])
    mixed = partners(order, position, 1) if config.augment.mixed else None
    return BatchPlan(np.array([sample]), np.array([epoch]), side, partners=mixed)


def _augmented(reader: BatchReader, plan: BatchPlan) -> Image:
    image, truths = _read(reader, plan)
    truths = truths[truths[:, 4] >= 0]
    none = np.zeros(len(truths), np.bool_)
    boxes, labels = xyxy_from_cxcywh(truths[:, :4]) * plan.side, truths[:, 4].astype(np.int64)
    return _captioned(
        draw_truths(image, boxes, labels, none, none, reader.index.classes), f"augmented, epoch {plan.epochs[0]}"
    )


def _read(reader: BatchReader, plan: BatchPlan) -> tuple[Image, NDArray[np.float32]]:
    reader[SlottedPlan(0, plan)]
    slot = reader.slots[0]
    return slot.pixels.reshape(plan.side, plan.side, 3), slot.truths[0]


def _captioned(picture: Image, text: str) -> Image:
    line = np.full((LINE_PX, picture.shape[1], 3), PAPER, np.uint8)
    cv2.putText(line, text, (2, LINE_PX - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (INK, INK, INK), 1, cv2.LINE_AA)
    return np.concatenate([line, picture])
