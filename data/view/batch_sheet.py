"""A training batch as the network sees it: placed, with colours changed and the boxes to learn."""

from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from data.files import write_whole
from data.images.boxes import xyxy_from_cxcywh
from data.images.on_device import distort_colours, place_packed
from data.loading.batch import Batch
from data.view.drawing import draw_truths

MOST, ACROSS, GAP_PX = 16, 4, 4  # pictures
LEAST_SIDE_PX = 200  # smaller inputs are enlarged for viewing

Image = NDArray[np.uint8]


def batch_sheet(batch: Batch, classes: tuple[str, ...]) -> Image:
    """[H, W, 3] picture of the first images of a batch. Waits for the device."""
    images = seen_images(batch)[:MOST]
    zoom = -(-LEAST_SIDE_PX // batch.side)
    pictures = [
        _drawn(image.repeat(zoom, 0).repeat(zoom, 1), truths, classes)
        for image, truths in zip(images, batch.truths.cpu().numpy(), strict=False)
    ]
    return tiled(pictures)


def tiled(pictures: list[Image]) -> Image:
    """Pictures of one size, row by row, on white paper."""
    height, width = (edge + GAP_PX for edge in pictures[0].shape[:2])
    across = min(ACROSS, len(pictures))
    down = -(-len(pictures) // across)
    paper = np.full((down * height - GAP_PX, across * width - GAP_PX, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = number // across * height, number % across * width
        paper[top : top + len(picture), left : left + picture.shape[1]] = picture
    return paper


def write_png(path: Path, picture: Image) -> None:
    _, png = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    write_whole(path, png.tobytes())


def seen_images(batch: Batch) -> Image:
    """[B, S, S, 3] input of the first layer, as bytes."""
    images = batch.images if batch.layout is None else place_packed(batch.images, batch.layout, batch.side)
    if batch.colours is not None:
        images = (distort_colours(images.float() / 255, batch.colours) * 255).round().to(torch.uint8)
    seen: Image = images.cpu().numpy()
    return seen


def _drawn(image: Image, truths_T5: NDArray[np.float32], classes: tuple[str, ...]) -> Image:
    truths = truths_T5[truths_T5[:, 4] >= 0]
    none = np.zeros(len(truths), np.bool_)
    boxes_xyxy_px = xyxy_from_cxcywh(truths[:, :4]) * len(image)
    return draw_truths(image, boxes_xyxy_px, truths[:, 4].astype(np.int64), none, none, classes)
