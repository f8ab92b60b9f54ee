"""Geometry: boxes move with their pixels. Colour: against exact arithmetic. Everything a function of its generator."""

import colorsys

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from data.images.augment import (
    GREY,
    AugmentConfig,
    Colour,
    Placement,
    clip_boxes,
    distort_colour,
    letterbox,
    place_boxes,
    place_image,
    random_colour,
    random_placement,
    stretch,
    unplace_boxes,
)

BRIGHT, DARK = 255, 30  # the middle of the two is above the grey of the canvas
UNCHANGED = AugmentConfig(hue=0, saturation=1, exposure=1)
SIZES = [(500, 375), (375, 500), (480, 480), (301, 97)]


def generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


def canvas_of(side: int) -> NDArray[np.uint8]:
    return np.full((side, side, 3), 77, np.uint8)  # what was in the memory before


def photograph(height: int = 120, width: int = 160, seed: int = 0) -> NDArray[np.uint8]:
    """Smooth noise of all hues, with black, white and grey."""
    small = generator(seed).integers(0, 256, (12, 16, 3), np.uint8)
    small[0, :3] = [[0, 0, 0], [255, 255, 255], [128, 128, 128]]
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


# ------------------------------------------------------------------------------------------------ without chance


def test_letterbox_puts_the_whole_image_in_the_middle() -> None:
    assert letterbox(500, 375, 416) == Placement((0, 0, 500, 375), (0, 52, 416, 364))
    assert letterbox(375, 500, 416) == Placement((0, 0, 375, 500), (52, 0, 364, 416))
    assert letterbox(100, 100, 64) == Placement((0, 0, 100, 100), (0, 0, 64, 64))
    assert letterbox(4000, 2, 64) == Placement((0, 0, 4000, 2), (0, 31, 64, 32))  # at least one pixel


def test_stretch_fills_the_canvas() -> None:
    assert stretch(500, 375, 416) == Placement((0, 0, 500, 375), (0, 0, 416, 416))


def test_around_a_letterboxed_image_the_canvas_is_grey() -> None:
    canvas = canvas_of(64)
    place_image(np.full((32, 64, 3), 250, np.uint8), letterbox(64, 32, 64), canvas)
    assert (canvas[:16] == GREY).all() and (canvas[48:] == GREY).all() and (canvas[16:48] == 250).all()


def test_an_image_of_the_canvas_size_is_copied() -> None:
    image, canvas = photograph(64, 64), canvas_of(64)
    place_image(image, stretch(64, 64, 64), canvas)
    np.testing.assert_array_equal(canvas, image)
    place_image(image, stretch(64, 64, 64)._replace(flip=True), canvas)
    np.testing.assert_array_equal(canvas, image[:, ::-1])


def test_a_box_over_the_whole_image_covers_the_whole_target() -> None:
    whole = np.array([[0, 0, 500, 375]], np.float32)
    np.testing.assert_allclose(place_boxes(whole, stretch(500, 375, 416), 416), [[0, 0, 1, 1]])
    np.testing.assert_allclose(place_boxes(whole, letterbox(500, 375, 416), 416), [[0, 0.125, 1, 0.875]])


def test_a_mirrored_box_keeps_its_corners_in_order() -> None:
    box = np.array([[0, 0, 50, 100]], np.float32)
    np.testing.assert_allclose(place_boxes(box, stretch(200, 200, 64)._replace(flip=True), 64), [[0.75, 0, 1, 0.5]])


@pytest.mark.parametrize("policy", ["place", "crop"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_taking_boxes_back_is_the_inverse_of_placing_them(policy: str, width: int, height: int) -> None:
    config = AugmentConfig(policy=policy, flip=0, scale_min=0.25, scale_max=2)  # type: ignore[arg-type]
    rng = generator(1)
    boxes = (rng.random((20, 4)) * [width, height, width, height]).astype(np.float32)
    placements = [random_placement(width, height, 416, config, generator(seed)) for seed in range(50)]
    for placement in [letterbox(width, height, 416), stretch(width, height, 416), *placements]:
        back = unplace_boxes(place_boxes(boxes, placement, 416).astype(np.float64), placement, 416)
        np.testing.assert_allclose(back, boxes, atol=2e-3)


def test_an_image_without_objects_stays_one() -> None:
    none = np.empty((0, 4), np.float32)
    placed = place_boxes(none, stretch(10, 10, 64)._replace(flip=True), 64)
    assert placed.shape == (0, 4)
    clipped, kept = clip_boxes(placed, 0.001)
    assert clipped.shape == (0, 4) and kept.shape == (0,)


def test_boxes_are_clipped_to_the_canvas_and_thin_ones_are_dropped() -> None:
    boxes = np.array(
        [[-0.5, 0.2, 0.5, 1.2], [1.1, 0, 1.5, 1], [0.2, 0.9995, 0.8, 1.4], [0.1, 0.1, 0.102, 0.2]], np.float32
    )
    clipped, kept = clip_boxes(boxes, 0.001)
    np.testing.assert_allclose(clipped[0], [0, 0.2, 0.5, 1])
    np.testing.assert_array_equal(kept, [True, False, False, True])
    assert clipped.dtype == np.float32


# --------------------------------------------------------------------------------- boxes move with their pixels


@pytest.mark.parametrize("policy", ["place", "crop"])
@pytest.mark.parametrize(("scale_min", "scale_max"), [(1, 1), (0.25, 2)])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_box_moves_with_its_pixels(policy: str, scale_min: float, scale_max: float, width: int, height: int) -> None:
    """A bright rectangle is placed and found again by its pixels."""
    config = AugmentConfig(policy=policy, scale_min=scale_min, scale_max=scale_max)  # type: ignore[arg-type]
    side, flips, cut, compared = 320, 0, 0, 0
    for seed in range(150):
        rng = generator(seed)
        x1, y1 = int(rng.integers(4, width * 0.7)), int(rng.integers(4, height * 0.7))
        x2, y2 = int(rng.integers(x1 + 8, width - 3)), int(rng.integers(y1 + 8, height - 3))
        image = np.full((height, width, 3), DARK, np.uint8)
        image[y1:y2, x1:x2] = BRIGHT
        placement = random_placement(width, height, side, config, rng)
        canvas = canvas_of(side)
        place_image(image, placement, canvas)
        placed = place_boxes(np.array([[x1, y1, x2, y2]], np.float32), placement, side)
        clipped, _ = clip_boxes(placed, config.min_size)
        box = clipped[0] * side
        found = canvas[..., 0] > (BRIGHT + DARK) / 2
        columns, rows = np.flatnonzero(found.any(0)), np.flatnonzero(found.any(1))
        if min(box[2] - box[0], box[3] - box[1]) < 2:  # outside, or too small to be surely there
            assert min(len(columns), len(rows)) <= 4
            continue
        extents = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        np.testing.assert_allclose(box, extents, atol=1.5, err_msg=f"seed {seed}: {placement}")
        compared += 1
        flips += placement.flip
        cut += not np.allclose(clipped, placed)
    assert compared > 100
    assert compared * 0.3 < flips < compared * 0.7
    if policy == "crop" or scale_max > 1:
        assert cut > 10


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
        source, (x1, y1, x2, y2), _, repeat_border = random_placement(width, height, side, config, generator(seed))
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
        (sx1, sy1, sx2, sy2), (tx1, ty1, tx2, ty2), _, repeat_border = random_placement(
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


# ----------------------------------------------------------------------------------------------------------- colour


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


# ---------------------------------------------------------------------------------------------------------- mistakes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jitter": 0.5}, r"augment\.jitter=0\.5: expected 0 <= jitter < 0\.5"),
        ({"jitter": -0.1}, r"augment\.jitter=-0\.1: expected 0 <= jitter"),
        ({"scale_min": 0}, r"augment\.scale_min=0, scale_max=1\.0: expected 0 < "),
        ({"scale_min": 2.0}, r"augment\.scale_min=2\.0, scale_max=1\.0: expected"),
        ({"flip": 1.5}, r"augment\.flip=1\.5, hue=0\.1, min_size=0\.001: expected each from 0 to 1"),
        ({"hue": -0.1}, r"augment\.flip=0\.5, hue=-0\.1, min_size=0\.001: expected each"),
        ({"min_size": float("nan")}, r"augment\.flip=0\.5, hue=0\.1, min_size=nan: expected each"),
        ({"saturation": 0.9}, r"augment\.saturation=0\.9, exposure=1\.5: expected factors >= 1"),
        ({"exposure": 0.9}, r"augment\.saturation=1\.5, exposure=0\.9: expected factors >= 1"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AugmentConfig(**options)  # type: ignore[arg-type]
