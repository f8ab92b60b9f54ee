"""A whole set through the network: every process predicts its own, unpadded share; all get the same scores."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.augment import Placement, place_boxes, unplace_boxes, whole_image
from data.boxes import clip
from data.draw import draw_boxes
from data.index import ShardIndex
from data.loader import Loader
from launch.environment import Environment
from launch.stop import Stop
from train.head import Found, detections
from train.metrics import Detections, Truths, VocScores, voc_ap
from train.step import Step


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    side: int = 416  #: px
    batch: int = 32  #: images of one forward pass of each process
    score_threshold: float = 0.005  #: darknet detector valid
    iou_threshold: float = 0.45  #: of non-maximum suppression
    pictures: int = 8  #: drawn with truths and detections
    picture_threshold: float = 0.3  #: detections below this score are not drawn

    def __post_init__(self) -> None:
        if self.side % 32 or self.side < 32:
            raise ValueError(f"evaluate.side={self.side}: expected a multiple of 32 px, the stride of the network")
        if self.batch < 1:
            raise ValueError(f"evaluate.batch={self.batch}: expected at least 1")


class Evaluation(NamedTuple):
    scores: VocScores
    pictures: list[NDArray[np.uint8]]  # [S, S, 3]; the same images of the set every time, on rank 0


class Evaluator:
    """`evaluator(step, stop)` -> `Evaluation`, or None if it was asked to stop before it was through.

    All processes must call it; the scores are equal on all of them.
    """

    def __init__(self, config: EvaluateConfig, loader: Loader, env: Environment) -> None:
        self.config, self.loader, self.env = config, loader, env

    def __call__(self, step: Step, stop: Stop) -> Evaluation | None:
        predicted = self._predict_share(step, stop)
        if predicted is None:
            return None
        found, pictures = predicted
        shares = self.env.gather(found)
        scores = self._score(Detections.concatenate(shares)) if shares else None
        scores = self.env.broadcast(scores)
        assert scores is not None
        return Evaluation(scores, pictures)

    def _predict_share(self, step: Step, stop: Stop) -> tuple[Detections, list[NDArray[np.uint8]]] | None:
        config, index = self.config, self.loader.index
        parts: list[Detections] = []
        pictures: list[NDArray[np.uint8]] = []
        evaluated: list[int] = []
        largest_share = -(-index.num_samples // self.env.world_size)
        batches = self.loader.evaluation_batches(config.side, config.batch, lambda: stop.requested)
        for _ in range(-(-largest_share // config.batch)):
            batch = next(batches, None)
            if stop.agreed():  # of all processes: also one without a batch in this round takes part
                return None
            if batch is None:
                continue
            found = detections(
                step.predict(batch.images),
                step.loss.anchors_cells,
                score_threshold=config.score_threshold,
                iou_threshold=config.iou_threshold,
            )
            for sample, image, of_image in zip(batch.samples.tolist(), batch.images, found, strict=True):
                parts.append(to_pixels(of_image, sample, self._placement(sample), index, config.side))
                evaluated.append(sample)
                if self.env.rank == 0 and len(pictures) < config.pictures:
                    pictures.append(self._picture(image.numpy(), sample, of_image))
        self._assert_complete(evaluated)
        return Detections.concatenate(parts) if parts else Detections.empty(), pictures

    def _placement(self, sample: int) -> Placement:
        return whole_image(*self.loader.index.size_px(sample), self.config.side, self.loader.config.resize)

    def _assert_complete(self, evaluated: list[int]) -> None:
        shares = self.env.gather(np.array(evaluated, np.int64))
        if shares:
            counts = np.bincount(np.concatenate(shares), minlength=self.loader.index.num_samples)
            assert (counts == 1).all(), "an image was evaluated twice or not at all"

    def _score(self, found: Detections) -> VocScores:
        return voc_ap(found, truths_of(self.loader.index), len(self.loader.index.classes))

    def _picture(self, image: NDArray[np.uint8], sample: int, found: Found) -> NDArray[np.uint8]:
        index, side = self.loader.index, self.config.side
        objects = index.objects(sample)
        truths_px = place_boxes(index.arrays["boxes_xyxy_px"][objects], self._placement(sample), side) * side
        drawn = draw_boxes(image, truths_px, None, None, index.classes)
        shown = found.scores > self.config.picture_threshold
        return draw_boxes(
            drawn, found.boxes_xyxy[shown] * side, found.labels[shown], found.scores[shown], index.classes
        )


def to_pixels(found: Found, sample: int, placement: Placement, index: ShardIndex, side: int) -> Detections:
    """Detections of one image, in pixels of the original image and clipped to it."""
    width, height = index.size_px(sample)
    boxes = clip(unplace_boxes(found.boxes_xyxy, placement, side), width, height)
    return Detections(
        np.full(len(found.labels), sample, np.int64),
        found.labels,
        found.scores.astype(np.float64),
        boxes.astype(np.float64),
    )


def truths_of(index: ShardIndex) -> Truths:
    arrays = index.arrays
    counts = np.diff(arrays["object_starts"])
    return Truths(
        np.repeat(np.arange(index.num_samples, dtype=np.int64), counts),
        arrays["labels"].astype(np.int64),
        arrays["boxes_xyxy_px"].astype(np.float64),
        arrays["difficult"] | arrays["crowd"],
    )
