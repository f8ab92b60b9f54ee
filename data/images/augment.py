"""Random augmentation: how training places an image and changes its colours, as pure functions of (size, rng).

Two placements, both darknet's (src/data.c, load_data_detection):
- `place` (darknet since August 2018): the aspect ratio is jittered, the whole image is scaled by `scale` (1 = as
  large as fits) and put at a random place on a grey canvas; what sticks out is cut off;
- `crop` (darknet of November 2016, the paper's numbers): each side moves in or out by up to `jitter`, the crop is
  stretched to the square, outside pixels repeat the border.

An augmentation is a step of `canvas_placement` or `canvas_colour`, with its own purpose for random draws.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from data.images.colour import Colour
from data.images.geometry import Placement, lay
from data.randomness import Purpose

Draw = Callable[[Purpose], np.random.Generator]  # the draws of one sample; a generator is valid until the next call


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    policy: Literal["place", "crop"] = "place"  #: how an image is placed in the square; crop: darknet of 2016
    jitter: float = 0.3  #: [share] of a side; darknet jitter=.3 (yolov2-voc.cfg), .2 in the 2016 cfgs
    scale_min: float = 1.0  #: [factor] for `place` only; darknet of 2017 drew U(.25, 2), since August 2018 it is 1
    scale_max: float = 1.0  #: [factor] for `place` only
    flip: float = 0.5  #: [probability] of mirroring left to right
    flip_vertical: float = 0.0  #: [probability] of mirroring top to bottom, for images with no up: cells, aerial views
    transpose: float = 0.0  #: [probability] of exchanging rows and columns, for the same images; with flips: all turns
    hue: float = 0.1  #: [share] of the colour circle: largest shift
    saturation: float = 1.5  #: [factor] at most; its inverse is equally likely
    exposure: float = 1.5  #: [factor] at most; its inverse is equally likely
    min_size: float = 0.001  #: [share] of the canvas: boxes thinner than this after clipping are dropped (darknet)
    min_visible: float = 0.0  #: [share] of its area that a box must keep, or it is dropped
    mosaic: float = 0.0  #: [probability] that an image shares its canvas with three others (data.images.mosaic)
    mosaic_scale_min: float = 0.4  #: [share] of the canvas: longer side of an image in a mosaic
    mosaic_scale_max: float = 1.0  #: [share] of the canvas
    mixup: float = 0.0  #: [probability] that another image is blended over the canvas, half and half
    mix_until: float = 0.85  #: [share] of the run after which mosaic and mixup end

    @property
    def mixed(self) -> bool:
        """Whether images ever share a canvas."""
        return self.mosaic > 0 or self.mixup > 0

    def __post_init__(self) -> None:
        if not 0 <= self.jitter < 0.5:
            raise ValueError(f"data.augment.jitter={self.jitter}: expected a share of the side, 0 <= jitter < 0.5")
        if not 0 < self.scale_min <= self.scale_max:
            raise ValueError(
                f"data.augment.scale_min={self.scale_min}, scale_max={self.scale_max}: expected 0 < min <= max"
            )
        chances = ("flip", "flip_vertical", "transpose", "mosaic", "mixup")
        for name in (*chances, "hue", "min_size", "min_visible", "mix_until"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"data.augment.{name}={getattr(self, name)}: expected 0 to 1")
        if not 0 < self.mosaic_scale_min <= self.mosaic_scale_max:
            raise ValueError(
                f"data.augment.mosaic_scale_min={self.mosaic_scale_min}, mosaic_scale_max={self.mosaic_scale_max}: "
                "expected 0 < min <= max"
            )
        if self.saturation < 1 or self.exposure < 1:
            raise ValueError(
                f"data.augment.saturation={self.saturation}, exposure={self.exposure}: expected factors >= 1"
            )


def canvas_placement(
    width: int, height: int, side: int, config: AugmentConfig, draw: Draw, purpose: Purpose
) -> Placement:
    """Placement of an image on its own canvas."""
    return random_placement(width, height, side, config, draw(purpose))


def canvas_colour(config: AugmentConfig, draw: Draw) -> Colour:
    """Random change of a canvas's colours."""
    return random_colour(config, draw(Purpose.COLOUR))


def random_placement(width: int, height: int, side: int, config: AugmentConfig, rng: np.random.Generator) -> Placement:
    """Placement by the policy of the config: `place` or `crop`, mirrored, turned."""
    jitter = config.jitter
    mirror, *four, size = rng.random(6).tolist()
    flip, (upside_down, transposed) = mirror < config.flip, random_symmetry(config, rng)
    width, height = (height, width) if transposed else (width, height)
    if config.policy == "crop":
        left, right, top, bottom = (jitter * (2 * draw - 1) for draw in four)
        left, right, top, bottom = left * width, right * width, top * height, bottom * height
        zoom_x, zoom_y = side / (width - left - right), side / (height - top - bottom)
        laid = lay(-left * zoom_x, -top * zoom_y, width * zoom_x, height * zoom_y, width, height, (side, side))
        return Placement(*laid, flip, repeat_border=True, upside_down=upside_down, transposed=transposed)
    wider, higher, across, down = four
    aspect = width * (1 + jitter * (2 * wider - 1)) / (height * (1 + jitter * (2 * higher - 1)))
    scale = config.scale_min + size * (config.scale_max - config.scale_min)
    new_width, new_height = (
        (scale * side * aspect, scale * side) if aspect < 1 else (scale * side, scale * side / aspect)
    )
    left, top = across * (side - new_width), down * (side - new_height)
    laid = lay(left, top, new_width, new_height, width, height, (side, side))
    return Placement(*laid, flip, upside_down=upside_down, transposed=transposed)


def random_symmetry(config: AugmentConfig, rng: np.random.Generator) -> tuple[bool, bool]:
    """Upside down, transposed. What a set does not use takes no draw."""
    upside_down, transposed = (bool(p) and rng.random() < p for p in (config.flip_vertical, config.transpose))
    return upside_down, transposed


def random_colour(config: AugmentConfig, rng: np.random.Generator) -> Colour:
    """Uniform hue shift; saturation and exposure scaled by a uniform factor or its inverse, as in darknet."""
    hue, *draws = rng.random(5).tolist()
    saturation, exposure = 1 + draws[0] * (config.saturation - 1), 1 + draws[1] * (config.exposure - 1)
    return Colour(
        config.hue * (2 * hue - 1),
        1 / saturation if draws[2] < 0.5 else saturation,
        1 / exposure if draws[3] < 0.5 else exposure,
    )
