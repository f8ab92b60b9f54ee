"""Durations in a run, as users write them: "1600 images", "3 epochs" or "5 %" of the run."""

import re
from typing import Literal, NamedTuple, cast

Unit = Literal["images", "epochs", "%"]
WRITTEN = re.compile(r"(\d[\d_]*(?:\.\d+)?) *(images?|epochs?|%)?")


class RunLength(NamedTuple):
    """The length of a run."""

    images_per_epoch: int
    epochs: int

    @property
    def images(self) -> int:
        return self.images_per_epoch * self.epochs


class Duration(NamedTuple):
    number: float
    unit: Unit

    def images(self, run: RunLength) -> int:
        """The number of images, rounded; at least 1 unless it is 0."""
        per_unit = {"images": 1.0, "epochs": run.images_per_epoch, "%": run.images / 100}[self.unit]
        return max(round(self.number * per_unit), 1) if self.number else 0


def parse_duration(text: str, key: str) -> Duration:
    """Parses a duration; a bare whole number counts images. key: for the error."""
    match = WRITTEN.fullmatch(text.strip())
    if not match or (match[2] is None and "." in match[1]):
        raise ValueError(f"{key}={text}: expected a duration such as '1600 images', '3 epochs' or '5 %'")
    unit = "%" if match[2] == "%" else (match[2] or "images").removesuffix("s") + "s"
    return Duration(float(match[1]), cast(Unit, unit))


def given_images(written: str | None, images: int | None, default: int | None, key: str, run: RunLength) -> int | None:
    """A duration in images, from `key`, as written, or from `key`_images. default: if neither is given."""
    if written is not None:
        return parse_duration(written, key).images(run)
    return default if images is None else images


def require_one(written: object, images: object, key: str, key_images: str) -> None:
    """ValueError if both keys of such a pair are given."""
    if written is not None and images is not None:
        raise ValueError(f"{key}={written} and {key_images}={images}: expected one key, found both")
