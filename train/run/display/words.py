"""Console lines of a run, and durations in words."""

from collections.abc import Sequence

import numpy as np

from train.evaluation.evaluator import Evaluation
from train.loss import Losses

MOST_NAMED = 10  # classes in a line; if there are more, the lowest and the highest
EXTREMES = 3


def lasting(seconds: float) -> str:
    """A duration in a natural unit."""
    for most, unit, size in ((90, "s", 1), (90 * 60, "min", 60), (48 * 3600, "h", 3600)):
        if seconds < most:
            return f"{max(seconds, 0) / size:.{0 if size == 1 else 1}f} {unit}"
    return f"{seconds / 86400:.1f} days"


def training_line(losses: Losses, *, rate: float, side: int, speed: float, share: float) -> str:
    """A log line. speed: images per second. share: of the time that training waited for data."""
    return (
        f"loss {float(losses.total):8.3f}  iou {float(losses.as_darknet['Avg IOU']):.2f}  rate {rate:.1e}  "
        f"side {side}  {speed:6.1f} images/s  waits {share:4.0%}"
    )


def evaluation_line(evaluation: Evaluation, classes: Sequence[str], epoch: int, epochs: int) -> str:
    """A line of scores as fractions, with each class, or the lowest and the highest if there are many."""
    voc, coco, ap_C = evaluation.voc, evaluation.coco, evaluation.deciding_ap_C
    named = [(name, ap) for name, ap in zip(classes, ap_C.tolist(), strict=True) if not np.isnan(ap)]
    parts = [
        f"epoch {epoch}/{epochs}: {f'AP@[.5:.95] {coco.ap:.4f}  ' if coco else ''}"
        f"mAP@.5 {voc.map_area:.4f} (11-point {voc.map_11point:.4f})"
    ]
    if len(named) > MOST_NAMED:
        named.sort(key=lambda each: each[1])
        parts += ["lowest", *map(_class_ap, named[:EXTREMES]), "highest", *map(_class_ap, named[: -EXTREMES - 1 : -1])]
    else:
        parts += map(_class_ap, named)
    return "  ".join(parts)


def _class_ap(named: tuple[str, float]) -> str:
    return f"{named[0]} {named[1]:.2f}"
