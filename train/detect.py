"""python -m train.detect RUN IMAGE... : a run's best checkpoint draws what it sees on pictures."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from data.augment import place_image, unplace_boxes, whole_image
from data.boxes import clip
from data.decode import decode
from data.draw import draw_boxes
from train.checkpoint import best, read
from train.config import Config, load
from train.head import Found, detections
from train.model import YOLOv2, build_model
from train.step import evaluated_weights, predict


class Detector(NamedTuple):
    """A trained network and what its outputs mean."""

    model: YOLOv2
    config: Config
    anchors_cells: torch.Tensor
    classes: tuple[str, ...]

    def __call__(self, image: NDArray[np.uint8], threshold: float) -> Found:
        """[H, W, 3] uint8 RGB -> detections, boxes in px of the image."""
        evaluate, resize = self.config.evaluate, self.config.data.resize
        height, width = image.shape[:2]
        placement = whole_image(width, height, evaluate.side, resize)
        canvas = np.empty((evaluate.side, evaluate.side, 3), np.uint8)
        place_image(image, placement, canvas)
        with torch.inference_mode():
            images = torch.from_numpy(canvas)[None].to(self.anchors_cells.device)
            raw = predict(self.model, images, torch.float32)
        found = detections(raw, self.anchors_cells, score_threshold=threshold, iou_threshold=evaluate.iou_threshold)[0]
        boxes_px = clip(unplace_boxes(found.boxes_xyxy, placement, evaluate.side), width, height)
        return found._replace(boxes_xyxy=boxes_px)


def load_detector(run: Path, checkpoint: Path | None = None, device: str = "cpu") -> Detector:
    """The best checkpoint of a run folder, or the one that is named."""
    config = load(run / "config.yaml", [])
    path = checkpoint or best(run / "checkpoints")
    if path is None:
        raise ValueError(f"no checkpoint under {run / 'checkpoints'}; train the run first")
    state = read(path)
    classes = tuple(state["network"]["classes"])
    model = build_model(config.model, len(classes), len(config.anchor_pairs))
    model.load_state_dict(evaluated_weights(state["step"]))
    return Detector(model.eval().to(device), config, torch.tensor(config.anchor_pairs, device=device), classes)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m train.detect", description="draw detections on pictures")
    parser.add_argument("run", type=Path, help="a run folder, such as runs/demo")
    parser.add_argument("images", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, help="folder for the drawn pictures; default: RUN/detections")
    parser.add_argument("--threshold", type=float, default=0.3, help="lowest score that is shown")
    parser.add_argument("--checkpoint", type=Path, help="instead of the best one")
    options = parser.parse_args(arguments)
    out = options.out or options.run / "detections"
    try:
        detector = load_detector(options.run, options.checkpoint, "cuda" if torch.cuda.is_available() else "cpu")
        out.mkdir(parents=True, exist_ok=True)
        for path in options.images:
            _detect_file(detector, path, out / f"{path.stem}.jpg", options.threshold)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def _detect_file(detector: Detector, path: Path, out: Path, threshold: float) -> None:
    try:
        image = decode(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path} does not decode: {error}") from None
    found = detector(image, threshold)
    drawn = draw_boxes(image, found.boxes_xyxy, found.labels, found.scores, detector.classes)
    if not cv2.imwrite(str(out), cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR)):
        raise OSError(f"{out} could not be written")
    print(f"{path} -> {out}")
    for label, score, box in zip(found.labels, found.scores, found.boxes_xyxy, strict=True):
        print(f"  {detector.classes[label]:<16} {score:.3f}  {' '.join(f'{edge:.0f}' for edge in box)}")


if __name__ == "__main__":
    main()
