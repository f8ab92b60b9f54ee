"""The learning rate as a function of images seen: nothing to save, nothing to restore."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from data.wording import counted
from train.schedule.duration import RunLength, given_images, parse_duration, require_one

BURN_IN_IMAGES, DROP_IMAGES = 64_000, [2_560_000, 3_840_000]  # darknet burn_in=1000, steps=40000,60000 at batch 64


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Defaults: yolov2-voc.cfg at batch 64. Durations are "1600 images", "3 epochs" or "5 %" of the run."""

    rate: float = 1e-3  #: [rate] after the burn-in; never scaled by the batch or the number of processes
    shape: Literal["steps", "cosine", "constant"] = "steps"  #: course of the rate after the burn-in
    burn_in: str | None = None  #: duration of the burn-in: rate * (images / burn_in)^power
    burn_in_images: int | None = None  #: [images] the same; neither: 64,000
    power: float = 4.0  #: [exponent] of the burn-in
    drops: list[str] | None = None  #: for shape steps: when the rate drops
    drop_images: list[int] | None = None  #: [images] the same; neither: 2,560,000 and 3,840,000
    drop: float = 0.1  #: [factor] on the rate at each drop
    final: float = 0.02  #: [share] of the rate that is left at the end; for shape cosine
    end: str | None = None  #: when a cosine ends
    end_images: int | None = None  #: [images] the same; neither: at the end of the run
    backbone_rate: float = 1.0  #: [factor] on the rate for the backbone

    def __post_init__(self) -> None:
        for name in ("rate", "drop", "power", "backbone_rate"):
            if not getattr(self, name) > 0:  # also refuses nan
                raise ValueError(f"schedule.{name}={getattr(self, name)}: expected a number above 0")
        if not 0 <= self.final <= 1:
            raise ValueError(f"schedule.final={self.final}: expected a share of the rate, 0 to 1")
        require_one(self.burn_in, self.burn_in_images, "schedule.burn_in", "burn_in_images")
        require_one(self.drops, self.drop_images, "schedule.drops", "drop_images")
        require_one(self.end, self.end_images, "schedule.end", "end_images")
        for key, texts in (("burn_in", [self.burn_in]), ("drops", [*(self.drops or [])]), ("end", [self.end])):
            for text in texts:
                parse_duration(text or "0", f"schedule.{key}")
        if min(self.burn_in_images or 0, *(self.drop_images or []), self.end_images or 0, 0) < 0:
            raise ValueError(
                f"schedule.burn_in_images={self.burn_in_images}, drop_images={self.drop_images}, "
                f"end_images={self.end_images}: expected numbers of images, 0 or more"
            )

    def in_images(self, run: RunLength) -> "ScheduleConfig":
        """The config for a run of this length, with every duration in images."""
        drop_images = self.drop_images
        if self.drops is not None:
            drop_images = [parse_duration(text, "schedule.drops").images(run) for text in self.drops]
        return replace(
            self,
            burn_in=None,
            burn_in_images=given_images(self.burn_in, self.burn_in_images, BURN_IN_IMAGES, "schedule.burn_in", run),
            drops=None,
            drop_images=DROP_IMAGES if drop_images is None else drop_images,
            end=None,
            end_images=given_images(self.end, self.end_images, run.images, "schedule.end", run),
        )


def learning_rate(images_seen: int, config: ScheduleConfig) -> float:
    """The rate of the step that brings the run to `images_seen`. config: with durations in images."""
    assert config.burn_in is None and config.drops is None, "durations are not in images yet"
    burn_in = BURN_IN_IMAGES if config.burn_in_images is None else config.burn_in_images
    if images_seen < burn_in:
        return float(config.rate * (images_seen / burn_in) ** config.power)
    if config.shape == "constant":
        return config.rate
    if config.shape == "cosine":
        assert config.end_images is not None, "a cosine ends somewhere"
        passed = min((images_seen - burn_in) / max(config.end_images - burn_in, 1), 1.0)
        return config.rate * (config.final + (1 - config.final) * (1 + math.cos(math.pi * passed)) / 2)
    drops = DROP_IMAGES if config.drop_images is None else config.drop_images
    return float(config.rate * config.drop ** sum(images_seen >= drop for drop in drops))


def misfit(config: ScheduleConfig, run: RunLength) -> str | None:
    """A sentence on what lies beyond the end of the run, and what would fit; None if all fits."""
    assert config.burn_in_images is not None and config.drop_images is not None and config.end_images is not None
    total, drops = run.images, config.drop_images if config.shape == "steps" else []
    end = config.end_images if config.shape == "cosine" else total
    if end <= config.burn_in_images < total:
        return (
            f"the cosine ends at {end:,} images, within the burn-in of {config.burn_in_images:,} images, so nearly all "
            f"of the run would have the last rate. Set schedule.end_images={total}, or a shorter schedule.burn_in"
        )
    beyond = [f"the burn-in of {config.burn_in_images:,} images"] * (config.burn_in_images >= total)
    beyond += [f"the drop of the rate at {drop:,} images" for drop in drops if drop >= total]
    beyond += [f"the end of the cosine at {end:,} images"] * (end > total)
    if not beyond:
        return None
    fitting = f"schedule.burn_in_images={total // 20}" + f" schedule.end_images={total}" * (end > total)
    if drops:
        fractions = [0.5 + 0.5 * number / (len(drops) + 1) for number in range(1, len(drops) + 1)]
        fitting += f" schedule.drop_images=[{','.join(str(round(fraction * total)) for fraction in fractions)}]"
    return (
        f"{' and '.join(beyond)} {'lies' if len(beyond) == 1 else 'lie'} beyond the end of the run, which sees "
        f"{counted(total, 'image')} ({counted(run.epochs, 'epoch')} of {run.images_per_epoch:,}), so the rate would "
        f"never follow the schedule. Set {fitting}; or recipe=scratch, whose schedule fits a run of any length; or "
        "more epochs"
    )
