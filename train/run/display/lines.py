"""The console lines of a run: one for each log interval, one for each evaluation."""

from collections.abc import Sequence

import numpy as np

from train.evaluation.evaluator import Evaluation
from train.loss import Losses

MOST_NAMED = 10  # classes in a line; if there are more, only the extremes are named
EXTREMES = 3  # lowest and highest classes


def training_line(losses: Losses, *, rate: float, side: int, images_per_s: float, wait_share: float) -> str:
    """A log line. wait_share: of the time, spent waiting for data."""
    return (
        f"loss {float(losses.total):8.3f}  iou {float(losses.as_darknet['Avg IOU']):.2f}  rate {rate:.1e}  "
        f"side {side}  {images_per_s:6.1f} images/s  waits {wait_share:4.0%}"
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
