"""What the policies draw: distributions, limits, and everything a function of the generator."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from data.images.augment import AugmentConfig, random_colour, random_placement
from data.images.colour import distort_colour
from data.images.geometry import GREY, place_image
from tests.data.pictures import canvas_of, generator, photograph

SIZES = [(500, 375), (375, 500), (480, 480), (301, 97)]


# ------------------------------------------------------------------------------------------- what the policies draw


@pytest.mark.parametrize("policy", ["place", "crop"])
def test_the_same_generator_gives_the_same_bytes(policy: str) -> None:
    config = AugmentConfig(policy=policy)  # type: ignore[arg-type]

    def augmented(seed: int) -> bytes:
        rng, canvas = generator(seed), canvas_of(96)
        place_image(photograph(), random_placement(160, 120, 96, config, rng), canvas)
        distort_colour(canvas, random_colour(config, rng))
        return canvas.tobytes()

    assert len({augmented(seed) for seed in range(20)}) == 20
    assert [augmented(seed) for seed in range(20)] == [augmented(seed) for seed in range(20)]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_place_shows_the_whole_image_as_large_as_fits(width: int, height: int) -> None:
    config, side = AugmentConfig(policy="place"), 416
    coverage, lefts = [], []
    for seed in range(1000):
        source, (x1, y1, x2, y2), _, repeat_border, *_ = random_placement(width, height, side, config, generator(seed))
        np.testing.assert_allclose(source, (0, 0, width, height), atol=1)  # half a pixel of the canvas
        assert not repeat_border
        assert 0 <= x1 < x2 <= side and 0 <= y1 < y2 <= side
        assert max(x2 - x1, y2 - y1) == side
        aspect = (x2 - x1) / (y2 - y1)
        assert 0.7 / 1.3 * 0.98 < aspect / (width / height) < 1.3 / 0.7 * 1.02
        coverage.append((x2 - x1) * (y2 - y1) / side**2)
        lefts.append((x1 if x2 - x1 < side else y1) / max(side - min(x2 - x1, y2 - y1), 1))
    assert 0.4 < np.mean(np.array(lefts) < 0.5) < 0.6  # anywhere, not centred
    if (width, height) == (500, 375):
        assert min(coverage) > 0.395 and max(coverage) <= 1
        assert np.mean(coverage) == pytest.approx(0.74, abs=0.02)  # as darknet's arithmetic gives


def test_place_with_a_scale_shows_smaller_and_larger_images() -> None:
    config, side = AugmentConfig(policy="place", scale_min=0.25, scale_max=2, jitter=0), 400
    zooms = []
    for seed in range(1000):
        (sx1, _, sx2, _), (tx1, _, tx2, _), *_ = random_placement(500, 375, side, config, generator(seed))
        zooms.append((tx2 - tx1) / (sx2 - sx1) * 500 / side)
    assert 0.24 < min(zooms) < 0.3 and 1.9 < max(zooms) < 2.02
    assert np.mean(zooms) == pytest.approx(1.125, abs=0.06)


@pytest.mark.parametrize("jitter", [0.0, 0.2, 0.3])
def test_crop_moves_each_side_by_at_most_the_jitter(jitter: float) -> None:
    config, side, width, height = AugmentConfig(policy="crop", jitter=jitter), 416, 500, 375
    crops = []
    for seed in range(1000):
        (sx1, sy1, sx2, sy2), (tx1, ty1, tx2, ty2), _, repeat_border, *_ = random_placement(
            width, height, side, config, generator(seed)
        )
        assert repeat_border
        crops.append((side * (sx2 - sx1) / (tx2 - tx1) / width, side * (sy2 - sy1) / (ty2 - ty1) / height))
        # an image that ends inside the crop is shown to its end, but for rounding
        assert (tx1 == 0 or sx1 <= 1) and (tx2 == side or sx2 >= width - 1)
        assert (ty1 == 0 or sy1 <= 1) and (ty2 == side or sy2 >= height - 1)
        assert sx1 <= jitter * width + 1 and sx2 >= (1 - jitter) * width - 1
    assert np.min(crops) > 1 - 2 * jitter - 0.01 and np.max(crops) < 1 + 2 * jitter + 0.01
    assert np.mean(crops) == pytest.approx(1, abs=0.02)
    if jitter:
        assert np.min(crops) < 1 - 1.7 * jitter and np.max(crops) > 1 + 1.7 * jitter


def test_crop_repeats_the_border_and_adds_no_grey() -> None:
    config, canvas = AugmentConfig(policy="crop", jitter=0.3), canvas_of(96)
    image = np.full((90, 120, 3), 255, np.uint8)
    image[:, :60] = 0
    inside = 0
    for seed in range(50):
        placement = random_placement(120, 90, 96, config, generator(seed))
        inside += placement.target != (0, 0, 96, 96)
        place_image(image, placement, canvas)
        assert (np.ptp(canvas, axis=0) <= 1).all()  # every row alike, also above and below the image
        dark, bright = canvas[0, 0 if not placement.flip else -1], canvas[0, -1 if not placement.flip else 0]
        assert (dark == 0).all() and (bright == 255).all()
    assert inside > 20


def test_an_image_of_one_pixel_can_be_placed() -> None:
    for policy in ("place", "crop"):
        config = AugmentConfig(policy=policy, scale_min=0.25, scale_max=2)  # type: ignore[arg-type]
        for seed in range(30):
            canvas = canvas_of(32)
            placement = random_placement(1, 1, 32, config, generator(seed))
            place_image(np.full((1, 1, 3), 200, np.uint8), placement, canvas)
            assert (canvas == 200).any() and set(np.unique(canvas)) <= {GREY, 200}


def colours(count: int, **options: float) -> NDArray[np.float64]:
    """[count, 3] draws of hue, saturation, exposure."""
    config = AugmentConfig(**options)  # type: ignore[arg-type]
    return np.array([random_colour(config, generator(seed)) for seed in range(count)])


@pytest.mark.parametrize("which", [1, 2], ids=["saturation", "exposure"])
def test_factors_and_their_inverses_are_as_likely(which: int) -> None:
    factors = colours(4000, saturation=1.5 if which == 1 else 1, exposure=1.5 if which == 2 else 1)
    assert (factors[:, 3 - which] == 1).all()
    factors = factors[:, which]
    assert 1 / 1.5 <= factors.min() < 0.67 and 1.49 < factors.max() <= 1.5
    assert np.mean(factors > 1) == pytest.approx(0.5, abs=0.03)
    assert np.mean(factors[factors > 1]) == pytest.approx(1.25, abs=0.01)
    assert np.mean(1 / factors[factors < 1]) == pytest.approx(1.25, abs=0.01)


def test_the_hue_moves_both_ways_by_at_most_its_limit() -> None:
    hues = colours(4000)[:, 0]
    assert -0.1 <= hues.min() < -0.099 and 0.099 < hues.max() <= 0.1
    assert np.mean(hues) == pytest.approx(0, abs=0.003)


# ---------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jitter": 0.5}, r"augment\.jitter=0\.5: expected a share of the side, 0 <= jitter < 0\.5"),
        ({"jitter": -0.1}, r"augment\.jitter=-0\.1: expected a share of the side, 0 <= jitter"),
        ({"scale_min": 0}, r"augment\.scale_min=0, scale_max=1\.0: expected 0 < "),
        ({"scale_min": 2.0}, r"augment\.scale_min=2\.0, scale_max=1\.0: expected"),
        ({"flip": 1.5}, r"augment\.flip=1\.5: expected 0 to 1"),
        ({"transpose": 2}, r"augment\.transpose=2: expected 0 to 1"),
        ({"hue": -0.1}, r"augment\.hue=-0\.1: expected 0 to 1"),
        ({"min_size": float("nan")}, r"augment\.min_size=nan: expected 0 to 1"),
        ({"mosaic": 1.1}, r"augment\.mosaic=1\.1: expected 0 to 1"),
        ({"mixup": -1}, r"augment\.mixup=-1: expected 0 to 1"),
        ({"mix_until": 1.5}, r"augment\.mix_until=1\.5: expected 0 to 1"),
        ({"mosaic_scale_min": 2.0}, r"augment\.mosaic_scale_min=2\.0, mosaic_scale_max=1\.0: expected 0 < min"),
        ({"saturation": 0.9}, r"augment\.saturation=0\.9, exposure=1\.5: expected factors >= 1"),
        ({"exposure": 0.9}, r"augment\.saturation=1\.5, exposure=0\.9: expected factors >= 1"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AugmentConfig(**options)  # type: ignore[arg-type]


def test_mirroring_top_to_bottom_changes_no_other_draw() -> None:
    config = AugmentConfig(scale_min=0.5, scale_max=1.5)
    for seed in range(20):
        without = random_placement(500, 375, 416, config, generator(seed))
        always = random_placement(500, 375, 416, replace(config, flip_vertical=1.0), generator(seed))
        assert always == without._replace(upside_down=True)


def test_transposing_exchanges_width_and_height_and_no_other_draw() -> None:
    config = AugmentConfig(scale_min=0.5, scale_max=1.5)
    for seed in range(20):
        without = random_placement(375, 500, 416, config, generator(seed))
        always = random_placement(500, 375, 416, replace(config, transpose=1.0), generator(seed))
        assert always == without._replace(transposed=True)
