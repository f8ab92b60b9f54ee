"""A run in TensorBoard: names and layout of charts, curves and pictures. The x axis is images seen.

Written by one process. A later start of the run discards what lies beyond the position it resumes from.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tensorboard.compat.proto.summary_pb2 import Summary

from train.evaluation.evaluator import Evaluation
from train.evaluation.scores.voc import SCORES, VocScores
from train.loss import Losses
from train.run.display.event_file import EventFile
from train.stepping.step import Norms

JPEG_QUALITY = 90  # a photograph as PNG is ten times as large, and every epoch writes several

GLANCE = "At a glance/"  # sorts before all others: TensorBoard opens on it
LINES = 10  # in a chart of classes
#: For the page HParams, which shows five columns, sorted by name: with a leading blank these come first
FIRST_SETTINGS = ("schedule.rate", "data.batch", "model.variant")

#: The page "Custom Scalars": {category: {chart: patterns of names}}
LAYOUT = {
    "At a glance": {
        "loss": [GLANCE + "loss", "val/loss"],
        "mAP": [GLANCE + "mAP", "mAP/.*"],
    },
    "What the network sees, as darknet prints it": {
        "boxes: Avg IOU, Avg Recall": ["(darknet|val)/Avg .*"],
        "objectness with and without an object, and the class": ["(darknet|val)/(Obj|No Obj|Class)"],
    },
    "Loss": {"its terms": ["loss/.*"]},
    "Training": {
        "rate": ["train/rate"],
        "side of the input, px": ["train/side"],
        "norm of the gradient": ["train/gradient_norm"],
        "norm of the weights": ["train/weights_norm"],
        "images per second": ["speed/images_per_s"],
        "share of time spent waiting for data": ["speed/data_wait_share"],
    },
}


def training_scalars(
    losses: Losses, norms: Norms, *, rate: float, side: int, images_per_s: float, wait_share: float
) -> dict[str, float]:
    """Name and value of each curve that a log line adds to. wait_share: of the time, spent waiting for data."""
    return {
        GLANCE + "loss": float(losses.total),
        **{f"loss/{name}": float(getattr(losses, name)) for name in Losses._fields[:6]},
        **{f"darknet/{name}": float(value) for name, value in losses.as_darknet.items()},
        "train/rate": rate,
        "train/side": side,
        **{f"train/{name}_norm": float(norm) for name, norm in norms._asdict().items()},
        "speed/images_per_s": images_per_s,
        "speed/data_wait_share": wait_share,
    }


def class_charts(classes: Sequence[str]) -> dict[str, list[str]]:
    """Charts of the page "Custom Scalars": {title: patterns of names}, few enough lines in each to tell apart."""
    groups = [classes[first : first + LINES] for first in range(0, len(classes), LINES)]
    return {
        "AP of each class" if len(groups) == 1 else f"AP of {group[0]} to {group[-1]}": [
            f"class AP/({'|'.join(map(re.escape, group))})$"
        ]
        for group in groups
    }


class Events:
    """The log. What a method wrote is in the file when it returns; OSError if it is not."""

    def __init__(self, folder: Path, start: int, settings: Mapping[str, Any], classes: Sequence[str]) -> None:
        """start: images seen. settings: flat, for the page of hparams."""
        from torch.utils.tensorboard.summary import custom_scalars, hparams

        self._file, self._classes = EventFile(folder, start), classes
        layout = {
            category: {title: ["Multiline", patterns] for title, patterns in charts.items()}
            for category, charts in {**LAYOUT, "Classes": class_charts(classes)}.items()
        }
        self._file.add(custom_scalars(layout))
        # in this file: SummaryWriter.add_hparams would open a second run beside it
        for summary in hparams(_plain(settings), {GLANCE + "mAP": 0.0}):
            self._file.add(summary)
        self._file.flush()

    def scalars(self, values: Mapping[str, float], images: int) -> None:
        """Writes values, except nan."""
        for name, value in values.items():
            if np.isfinite(value):
                self._file.add(Summary(value=[Summary.Value(tag=name, simple_value=value)]), images)
        self._file.flush()

    def evaluation(self, evaluation: Evaluation, images: int) -> None:
        """Writes an evaluation, except its scalars."""
        self.curves(evaluation.voc, images)
        for image_id, picture in evaluation.pictures.items():
            self.picture(f"{GLANCE}picture {image_id}", picture, images)

    def curves(self, scores: VocScores, images: int) -> None:
        """Writes precision over recall, for each class with truths."""
        from torch.utils.tensorboard.summary import pr_curve_raw

        for label in np.flatnonzero(scores.num_truths).tolist():
            right, wrong = scores.right_SC[:, label], scores.wrong_SC[:, label]
            missed = scores.num_truths[label] - right
            rates = scores.precision_SC[:, label], scores.recall_SC[:, label]
            name, unknown = f"precision over recall/{self._classes[label]}", np.zeros_like(right)
            self._file.add(pr_curve_raw(name, right, wrong, unknown, missed, *rates, len(SCORES)), images)
        self._file.flush()

    def picture(self, name: str, image: NDArray[np.uint8], images: int) -> None:
        """Writes a picture [H, W, 3] RGB."""
        height, width, _ = image.shape
        _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        value = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=jpeg.tobytes())
        self._file.add(Summary(value=[Summary.Value(tag=name, image=value)]), images)
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _plain(settings: Mapping[str, Any]) -> dict[str, int | float | str | bool]:
    return {
        f"{' ' * (name in FIRST_SETTINGS)}{name}": value if isinstance(value, int | float | str | bool) else str(value)
        for name, value in settings.items()
    }
