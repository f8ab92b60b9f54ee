"""A training batch as it is shown: the pixels that the network gets, with the boxes that it learns."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from data.images.colour import Colour, distort_colour
from data.images.geometry import whole_image
from data.images.on_device import layout_row
from data.loading.batch import Batch
from data.view.batch_sheet import GAP_PX, batch_sheet, seen_images, write_png


def batch_of(images: torch.Tensor, **others: torch.Tensor) -> Batch:
    truths = torch.full((len(images), 2, 5), 0.5)
    truths[:, :, 4] = torch.tensor([0, -1])  # one object in the middle, one free slot
    return Batch(images, truths, torch.arange(len(images)), [], 96, **others)


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (3, (1, 3)), (6, (2, 4)), (40, (4, 4))])
def test_pictures_lie_in_rows_of_four_and_are_large_enough(count: int, shape: tuple[int, int]) -> None:
    sheet = batch_sheet(batch_of(torch.zeros((count, 96, 96, 3), dtype=torch.uint8)), ("cat",))
    down, across = shape
    assert sheet.shape == (down * (288 + GAP_PX) - GAP_PX, across * (288 + GAP_PX) - GAP_PX, 3)
    assert sheet[40, 100].tolist() == [0, 0, 0] and sheet[100, 72].any()  # inside, and on the edge of the box


def test_colours_and_places_are_those_of_the_device() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
    colour = Colour(0.05, 1.4, 0.8)
    plain = batch_of(torch.from_numpy(image)[None], colours=torch.tensor([list(colour)]))
    expected = image.copy()
    distort_colour(expected, colour)
    assert (
        np.abs(seen_images(plain)[0].astype(int) - expected).mean() < 1.5 < np.abs(image - expected.astype(int)).mean()
    )
    layout = torch.tensor([layout_row(0, 96, whole_image(96, 96, 96, "stretch"))])
    packed = batch_of(torch.from_numpy(image).flatten(), layout=layout)._replace(truths=torch.zeros((1, 1, 5)))
    assert (seen_images(packed)[0] == image).all()


def test_a_png_keeps_the_pixels(tmp_path: Path) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    write_png(tmp_path / "a.png", picture)
    assert (cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_COLOR_RGB) == picture).all()
