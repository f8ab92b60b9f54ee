"""Colour: against exact arithmetic."""

import colorsys

import numpy as np
from numpy.typing import NDArray

from data.images.augment import AugmentConfig, random_colour
from data.images.colour import Colour, distort_colour
from data.images.geometry import GREY
from tests.data.pictures import generator, photograph

UNCHANGED = AugmentConfig(hue=0, saturation=1, exposure=1)


def exact(image: NDArray[np.uint8], colour: Colour) -> NDArray[np.float64]:
    """In floating point, as darknet: HSV, shift and factors, back, then 0..1."""
    pixels = [colorsys.rgb_to_hsv(*pixel) for pixel in (image.reshape(-1, 3) / 255).tolist()]
    moved = [
        np.clip(colorsys.hsv_to_rgb((h + colour.hue) % 1, s * colour.saturation, v * colour.exposure), 0, 1)
        for h, s, v in pixels
    ]
    return np.array(moved).reshape(image.shape) * 255


def test_colour_is_near_exact_arithmetic() -> None:
    means, most = [], []
    for seed in range(30):
        image, colour = photograph(), random_colour(AugmentConfig(), generator(seed))
        expected = exact(image, colour)
        distort_colour(image, colour)
        difference = np.abs(image - expected)
        means.append(difference.mean())
        most.append(difference.max())
    assert np.mean(means) < 0.8
    assert np.max(means) < 1
    assert np.max(most) < 16  # hue has 256 steps, a pure colour changes by 6 levels in one


def test_no_distortion_changes_nothing() -> None:
    image = photograph()
    canvas = image.copy()
    distort_colour(canvas, random_colour(UNCHANGED, generator(0)))
    np.testing.assert_array_equal(canvas, image)


def test_the_hue_turns_by_what_was_asked() -> None:
    hues = np.linspace(0, 1, 500, endpoint=False)
    colour = np.array([[colorsys.hsv_to_rgb(hue, 0.8, 0.8) for hue in hues]])
    for asked in (-0.1, -0.03, 0.0, 0.05):
        canvas = np.rint(colour * 255).astype(np.uint8)
        distort_colour(canvas, Colour(asked, 1, 1.0001))
        after = np.array([colorsys.rgb_to_hsv(*pixel)[0] for pixel in canvas[0].tolist()])
        turned = (after - hues - asked + 0.5) % 1 - 0.5
        assert abs(turned.mean()) < 0.005 and np.abs(turned).max() < 0.01  # steps of 1/256


def test_grey_stays_grey() -> None:
    canvas = np.full((8, 8, 3), GREY, np.uint8)
    for seed in range(20):
        distort_colour(canvas, random_colour(AugmentConfig(exposure=1), generator(seed)))
    assert (canvas == GREY).all()
