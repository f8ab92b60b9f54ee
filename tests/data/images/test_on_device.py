"""What the device does is what the CPU does: geometry within a grey level, colours as exact as colorsys."""

import colorsys

import cv2
import numpy as np
import pytest
import torch

from data.images.augment import AugmentConfig, random_placement
from data.images.colour import Colour, distort_colour
from data.images.geometry import Placement, place_image, stretch
from data.images.on_device import LAYOUT, distort_colours, layout_row, place_packed


def pictures(count: int) -> list[np.ndarray]:
    """Smooth, of different sizes: neighbouring pixels differ as they do in photographs."""
    rng = np.random.default_rng(0)
    sizes = [(rng.integers(40, 300), rng.integers(40, 300)) for _ in range(count)]
    return [
        cv2.resize(rng.integers(0, 256, (12, 9, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC) for size in sizes
    ]


def packed(images: list[np.ndarray], placements: list[Placement]) -> tuple[torch.Tensor, torch.Tensor]:
    offsets = np.cumsum([0, *(image.size for image in images)])
    rows = [
        layout_row(offset, image.shape[1], placement)
        for offset, image, placement in zip(offsets.tolist(), images, placements, strict=False)
    ]
    return torch.from_numpy(np.concatenate([image.reshape(-1) for image in images])), torch.tensor(rows)


@pytest.mark.parametrize(
    "config",
    [
        AugmentConfig(),
        AugmentConfig(policy="crop", jitter=0.2),
        AugmentConfig(scale_min=0.25, scale_max=2),
        AugmentConfig(flip_vertical=0.5, transpose=0.5),
        AugmentConfig(policy="crop", transpose=1.0),
    ],
    ids=["place", "crop", "scaled", "all turns", "transposed crop"],
)
def test_packed_images_land_where_the_cpu_puts_them(config: AugmentConfig) -> None:
    images, side = pictures(60), 96
    rng = np.random.default_rng(1)
    placements = [random_placement(image.shape[1], image.shape[0], side, config, rng) for image in images]
    expected = np.empty((60, side, side, 3), np.uint8)
    for image, placement, canvas in zip(images, placements, expected, strict=True):
        place_image(image, placement, canvas)
    found = place_packed(*packed(images, placements), side)
    assert found.dtype == torch.uint8 and found.shape == expected.shape
    apart = np.abs(found.numpy().astype(int) - expected)
    assert apart.max() <= 1 and apart.mean() < 0.2
    assert any(placement.flip for placement in placements) and not all(placement.flip for placement in placements)


def test_an_image_of_the_size_of_the_canvas_stays_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    found = place_packed(*packed([image], [stretch(64, 64, 64)]), 64)
    np.testing.assert_array_equal(found[0].numpy(), image)
    assert len(layout_row(0, 64, stretch(64, 64, 64))) == LAYOUT


def test_colours_are_those_of_hsv() -> None:
    """darknet's distort_image: hue shifted, S and V multiplied, back, then clipped to 0..1."""
    rng = np.random.default_rng(0)
    images = rng.random((4, 5, 6, 3))
    images[0, 0] = [0, 0, 0]
    images[0, 1] = [1, 1, 1]
    images[1, 0] = [1, 0, 0]
    colours = [Colour(0.07, 1.4, 0.8), Colour(-0.1, 0.7, 1.5), Colour(), Colour(0.02, 1.5, 1.5)]
    found = distort_colours(torch.tensor(images), torch.tensor(colours, dtype=torch.float64))
    for image, colour, ours in zip(images, colours, found.numpy(), strict=True):
        for pixel, mine in zip(image.reshape(-1, 3), ours.reshape(-1, 3), strict=True):
            hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
            exact = colorsys.hsv_to_rgb((hue + colour.hue) % 1, saturation * colour.saturation, value * colour.exposure)
            np.testing.assert_allclose(mine, np.clip(exact, 0, 1), atol=1e-9)


def test_the_cpu_and_the_device_change_colours_alike() -> None:
    rng = np.random.default_rng(0)
    for image in pictures(20):
        colour = Colour(rng.uniform(-0.1, 0.1), *(rng.uniform(1, 1.5, 2) ** rng.choice([-1, 1], 2)))
        ours = image.copy()
        distort_colour(ours, colour)
        exact = distort_colours(torch.from_numpy(image)[None].double() / 255, torch.tensor([colour]).double())[0]
        apart = np.abs(ours - exact.numpy() * 255)
        assert apart.mean() < 1.2 and apart.max() < 16  # of 255; most where colours are strong


def test_nothing_to_change_changes_nothing() -> None:
    image = pictures(1)[0]
    same = image.copy()
    distort_colour(same, Colour())
    np.testing.assert_array_equal(same, image)
    floats = torch.from_numpy(image)[None].double() / 255
    torch.testing.assert_close(distort_colours(floats, torch.tensor([Colour()]).double()), floats)


@pytest.mark.slow
def test_compiled_it_is_the_same() -> None:
    images, side = pictures(8), 64
    rng = np.random.default_rng(1)
    placements = [random_placement(image.shape[1], image.shape[0], side, AugmentConfig(), rng) for image in images]
    compiled = torch.compile(place_packed, dynamic=True)
    for count in (8, 5):
        given = packed(images[:count], placements[:count])
        assert (compiled(*given, side).int() - place_packed(*given, side).int()).abs().max() <= 1
