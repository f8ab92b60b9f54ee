"""What TensorBoard shows of a run: names of its charts, their layout, curves and pictures. The x axis is images seen.

Written by one process. A later start of the run takes back what lies beyond the position it goes on from.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from train.evaluation.voc import SCORES, VocScores

JPEG_QUALITY = 90  # a photograph as PNG is ten times as large, and there are some for every epoch

GLANCE = "At a glance/"  # sorts before all others: TensorBoard opens on it

#: The page "Custom Scalars": {category: {chart: patterns of names}}
LAYOUT = {
    "At a glance": {
        "loss": [GLANCE + "loss"],
        "mAP": [GLANCE + "mAP", "mAP/.*"],
        "AP of each class": ["class AP/.*"],
    },
    "What the network sees, as darknet prints it": {
        "boxes: Avg IOU, Avg Recall": ["darknet/Avg .*"],
        "objectness with and without an object, and the class": ["darknet/(Obj|No Obj|Class)"],
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


class Events:
    def __init__(self, folder: Path, start: int, settings: Mapping[str, Any]) -> None:
        """start: images seen. settings: flat, for the page of hparams."""
        from torch.utils.tensorboard import SummaryWriter

        # What is at `start` was written before the checkpoint there, which is not evaluated again.
        self._writer = SummaryWriter(str(folder), purge_step=start + 1 if start else 0)
        self._writer.add_custom_scalars(
            {
                category: {title: ["Multiline", patterns] for title, patterns in charts.items()}
                for category, charts in LAYOUT.items()
            }
        )
        _write_settings(self._writer, settings)

    def scalars(self, values: Mapping[str, float], images: int) -> None:
        """Without those that are no numbers."""
        for name, value in values.items():
            if np.isfinite(value):
                self._writer.add_scalar(name, value, images)

    def curves(self, scores: VocScores, classes: Sequence[str], images: int) -> None:
        """Precision over recall, for each class with truths."""
        for label in np.flatnonzero(scores.num_truths).tolist():
            right, wrong = scores.right_SC[:, label], scores.wrong_SC[:, label]
            missed = scores.num_truths[label] - right
            rates = scores.precision_SC[:, label], scores.recall_SC[:, label]
            name, unknown = f"precision over recall/{classes[label]}", np.zeros_like(right)
            self._writer.add_pr_curve_raw(name, right, wrong, unknown, missed, *rates, images, len(SCORES))

    def picture(self, name: str, image: NDArray[np.uint8], images: int) -> None:
        """[H, W, 3] RGB."""
        from tensorboard.compat.proto.summary_pb2 import Summary

        height, width, _ = image.shape
        _, jpeg = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        value = Summary.Image(height=height, width=width, colorspace=3, encoded_image_string=jpeg.tobytes())
        self._writer.file_writer.add_summary(Summary(value=[Summary.Value(tag=name, image=value)]), images)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def _write_settings(writer: Any, settings: Mapping[str, Any]) -> None:
    """The hparams of the run, in its own event file (SummaryWriter.add_hparams would open a second run beside it)."""
    from torch.utils.tensorboard.summary import hparams

    plain = {
        name: value if isinstance(value, int | float | str | bool) else str(value) for name, value in settings.items()
    }
    for summary in hparams(plain, {GLANCE + "mAP": 0.0}):
        writer.file_writer.add_summary(summary)
