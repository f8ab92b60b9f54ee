"""A trained network on images: arrays in, boxes out.

detector = load_detector(Path("runs/voc"), device="cuda")
for found in detector([image, another], 0.3):  # [H, W, 3] uint8 RGB each, of any sizes
    found.boxes_xyxy  # [D, 4] left, top, right, bottom in px of that image, best first
    found.labels      # [D] numbers in detector.classes
    found.scores      # [D] 0..1
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from data.images.boxes import clip
from data.images.geometry import Placement, grey_level, place_image, unplace_boxes, whole_image
from train.config import Config
from train.detection.head import ImageDetections, detections
from train.model import YOLOv2
from train.stepping.objective import predict
from train.trained import find_trained, load_trained

Pixels = NDArray[np.uint8]


class Detector(NamedTuple):
    """A trained network and what its outputs mean."""

    model: YOLOv2
    config: Config
    anchors_cells: torch.Tensor
    classes: tuple[str, ...]

    def __call__(self, images: Sequence[Pixels], threshold: float | NDArray[np.floating]) -> list[ImageDetections]:
        """Detections of each image above the threshold: one number for all classes, or [C].

        One forward pass in float32, whose memory grows with the number of images. Waits for the device once.
        """
        if not len(images):
            return []
        for number, image in enumerate(images):
            _require_pixels(image, number)
        evaluate, resize = self.config.evaluate, self.config.data.resize
        width, height = evaluate.size_px
        threshold_C = np.asarray(threshold, np.float64)
        if threshold_C.shape not in ((), (len(self.classes),)):
            raise ValueError(f"expected one threshold or {len(self.classes)}, found {threshold_C.size}")
        threshold_C = np.broadcast_to(threshold_C, len(self.classes))
        placements = [whole_image(image.shape[1], image.shape[0], evaluate.size_px, resize) for image in images]
        canvases = np.empty((len(images), height, width, 3), grey_level(resize))
        for image, placement, canvas in zip(images, placements, canvases, strict=True):
            place_image(image, placement, canvas)
        with torch.inference_mode():
            raw = predict(self.model, torch.from_numpy(canvases).to(self.anchors_cells.device), torch.float32)
        found = detections(
            raw,
            self.anchors_cells,
            score_threshold=float(threshold_C.min()),
            iou_threshold=evaluate.iou_threshold,
            softmax=self.config.loss.softmax,
        )
        return [
            _above(_of_image(each, placement, evaluate.size_px, image), threshold_C, evaluate.max_detections)
            for each, placement, image in zip(found, placements, images, strict=True)
        ]


def _require_pixels(image: object, number: int) -> None:
    """ValueError for anything else: OpenCV would leave the canvas of another number format unwritten."""
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.shape[2:] == (3,) and image.size:
        return
    found = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
    raise ValueError(f"image {number} of the list: expected a uint8 array [H, W, 3] of RGB, found {found}")


def _above(found: ImageDetections, threshold_C: NDArray[np.float64], most: int | None) -> ImageDetections:
    kept = np.flatnonzero(found.scores > threshold_C[found.labels])[:most]
    return ImageDetections(found.boxes_xyxy[kept], found.labels[kept], found.scores[kept])


def _of_image(found: ImageDetections, placement: Placement, size_px: tuple[int, int], image: Pixels) -> ImageDetections:
    """Detections in px of the image, without those in the border of a letterbox."""
    boxes_px = clip(unplace_boxes(found.boxes_xyxy, placement, size_px), image.shape[1], image.shape[0])
    inside = (boxes_px[:, 2:] > boxes_px[:, :2]).all(-1)
    return ImageDetections(boxes_px[inside], found.labels[inside], found.scores[inside])


def load_detector(target: Path | str, overrides: Sequence[str] = (), device: str = "cpu") -> Detector:
    """Loads a detector. target, overrides: as on the command line of train.detect."""
    config, path = find_trained(Path(target), overrides)
    model, classes = load_trained(config, path)
    model = model.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Detector(model, config, torch.tensor(config.anchor_pairs, device=device), classes)
