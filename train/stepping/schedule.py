"""Learning rate as a function of images seen: nothing to save, nothing to restore."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Defaults: yolov2-voc.cfg at batch 64. Durations are images, so that they mean the same at every batch size."""

    rate: float = 1e-3
    burn_in_images: int = 64_000  #: rate * (images / burn_in)^4 until then; darknet burn_in=1000
    drop_images: list[int] = field(default_factory=lambda: [2_560_000, 3_840_000])  #: darknet steps=40000,60000
    drop: float = 0.1  #: factor at each of them

    def __post_init__(self) -> None:
        for name in ("rate", "drop"):
            if not getattr(self, name) > 0:  # nan neither
                raise ValueError(f"schedule.{name}={getattr(self, name)}: expected a number above 0")
        if min(self.burn_in_images, *self.drop_images, 0) < 0:
            raise ValueError(
                f"schedule.burn_in_images={self.burn_in_images}, drop_images={self.drop_images}: expected numbers of "
                "images, 0 or more"
            )


def learning_rate(images_seen: int, config: ScheduleConfig) -> float:
    """For the step that brings the run to `images_seen`."""
    if images_seen < config.burn_in_images:
        return float(config.rate * (images_seen / config.burn_in_images) ** 4)
    return float(config.rate * config.drop ** sum(images_seen >= drop for drop in config.drop_images))
