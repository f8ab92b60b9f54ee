"""Evaluates a whole set: every process predicts its own, unpadded share; all get the same scores."""

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from data.images.geometry import Placement, whole_image
from data.loading.loader import Loader
from data.shards.index import ShardIndex
from data.view.attempts import Attempts
from data.wording import counted
from launch.processes.environment import Environment
from launch.processes.stop import Stop
from train.detection.head import ImageDetections, detections
from train.evaluation.config import EvaluateConfig
from train.evaluation.pictures import draw_validation
from train.evaluation.pixels import to_pixels
from train.evaluation.scores.coco import MAX_DETECTIONS, CocoScores, Matches, coco_scores, match
from train.evaluation.scores.coco_reference import reference_scores
from train.evaluation.scores.confusion import confusion_matrix
from train.evaluation.scores.tables import Detections, by_image_id, truths_of
from train.evaluation.scores.voc import VocScores, voc_ap
from train.evaluation.validation_loss import LossSums, mean_of_shares, validation_scalars
from train.loss import Losses
from train.stepping.step import Step


def require_objects(index: ShardIndex) -> None:
    """ValueError for a set in which there is nothing to find."""
    if not index.trained().any():
        raise no_objects(index, "find", "evaluate on a split with annotations")


def no_objects(index: ShardIndex, use: str, remedy: str) -> ValueError:
    """The error about a set whose objects, if it has any, are all difficult or crowds."""
    count = len(index.arrays["labels"])
    found = f"{count:,}, all difficult or crowds," if count else "none"
    images = counted(index.num_samples, "image")
    return ValueError(f"{index.folder}: expected objects to {use}, found {found} in {images}; {remedy}")


class Evaluation(NamedTuple):
    """Scores, on every rank, and what they were counted from, on rank 0 alone."""

    voc: VocScores
    coco: CocoScores | None  # by COCO's protocol
    found: Detections  # images are samples of the index
    pictures: dict[str, NDArray[np.uint8]]  # by image id, [H, W, 3] the set's first images with truths and detections
    confusion: NDArray[np.int64] | None = None  # [C + 1, C + 1], see `confusion_matrix`
    losses: Losses | None = None  # means over the images, float64

    @property
    def deciding_ap(self) -> float:
        """The score that decides which network is best: COCO's AP@[.5:.95], or VOC's mAP under the curve."""
        return self.coco.ap if self.coco else self.voc.map_area

    @property
    def deciding_ap_C(self) -> NDArray[np.float64]:
        """The APs of the classes, whose mean is `deciding_ap`."""
        return self.coco.ap_AC[0] if self.coco else self.voc.ap_area

    def means(self) -> Iterator[tuple[str, float]]:
        """Name and value of every score of the whole set. A new metric is added here and shown everywhere."""
        yield from self.voc.means()
        if self.coco:
            yield from self.coco.means()
        if self.losses:
            yield from validation_scalars(self.losses)

    def of_classes(self) -> Iterator[tuple[str, NDArray[np.float64]]]:
        """Name and [C] values of every score of a class."""
        yield from self.voc.of_classes()
        if self.coco:
            yield from self.coco.of_classes()


class Evaluator:
    """`evaluator(step)` -> `Evaluation`; with a `Stop`, None if processes agreed to stop before it was done.

    All processes must call it; each gets the same scores.
    """

    def __init__(self, config: EvaluateConfig, loader: Loader, env: Environment) -> None:
        self.config, self.loader, self.env = config, loader, env
        self._attempt = Attempts("the evaluation continues without it")
        index = loader.index
        self.coco = config.protocol == "coco" or (config.protocol == "auto" and index.source.startswith("coco "))
        self.max_detections = config.max_detections or (MAX_DETECTIONS if self.coco else None)
        if config.coco_backend == "pycocotools" and find_spec("pycocotools") is None:
            raise ValueError("evaluate.coco_backend=pycocotools is not installed; pip install it, or leave it at own")
        require_objects(index)
        self.truths = by_image_id(truths_of(index), index)

    def __call__(
        self, step: Step, stop: Stop | None = None, on_progress: Callable[[int, int], None] | None = None
    ) -> Evaluation | None:
        """Evaluates the set. on_progress: called in each round with the numbers of images done and in all."""
        predicted = self._predict_share(step, stop, on_progress)
        if predicted is None:
            return None
        found, losses, pictures = predicted
        drawn: dict[int, NDArray[np.uint8]] = {}
        for share in self.env.gather(pictures):
            drawn |= share
        index = self.loader.index
        shown = {index.image_id(sample): drawn[sample] for sample in sorted(drawn)}
        scored = self._score(found, losses)._replace(pictures=shown)
        if self.env.rank:
            return scored
        compared = by_image_id(scored.found, index), self.truths, len(index.classes)
        return scored._replace(confusion=confusion_matrix(*compared))

    def _score(self, found: Detections, losses: LossSums) -> Evaluation:
        """Scores of the whole set, everywhere: each process matches its share, rank 0 counts all of them."""
        index, truths = self.loader.index, self.truths
        num_classes = len(index.classes)
        own = self.coco and self.config.coco_backend == "own"
        matches = match(by_image_id(found, index), truths, num_classes) if own else None
        shares = self.env.gather((found, matches, losses))
        everything = Detections.concatenate([found for found, _, _ in shares])

        def count() -> Evaluation:
            whole, coco = by_image_id(everything, index), None
            if matches:
                coco = coco_scores(Matches.concatenate([each for _, each, _ in shares if each]), truths, num_classes)
            elif self.coco:
                coco = reference_scores(whole, truths, num_classes)
            mean = mean_of_shares([losses for _, _, losses in shares])
            return Evaluation(voc_ap(whole, truths, num_classes), coco, Detections.empty(), {}, losses=mean)

        return self.env.on_rank_0(count)._replace(found=everything)

    def _predict_share(
        self, step: Step, stop: Stop | None, on_progress: Callable[[int, int], None] | None
    ) -> tuple[Detections, LossSums, dict[int, NDArray[np.uint8]]] | None:
        """Detections and losses of this process's share, and pictures by sample; None if processes agreed to stop."""
        config, index = self.config, self.loader.index
        parts, losses = list[Detections](), LossSums()
        pictures: dict[int, NDArray[np.uint8]] = {}
        evaluated: list[int] = []
        largest_share = -(-index.num_samples // self.env.world_size)
        batches = self.loader.evaluation_batches(config.size_px, config.batch, stop.waiting if stop else None)
        for number in range(-(-largest_share // config.batch)):
            if on_progress:
                on_progress(min(number * config.batch * self.env.world_size, index.num_samples), index.num_samples)
            batch = next(batches, None)
            if stop and stop.agreed():  # asks all processes, including those without a batch in this round
                return None
            if batch is None:
                continue
            raw = self._predict(step, batch.images)
            losses.add(step.loss, raw, batch.truths)
            found = detections(
                raw,
                step.loss.anchors_cells,
                score_threshold=config.score_threshold,
                iou_threshold=config.iou_threshold,
                max_detections=self.max_detections,
                softmax=step.loss.softmax,
            )
            for sample, image, of_image in zip(batch.samples.tolist(), batch.images, found, strict=True):
                parts.append(to_pixels(of_image, sample, self._placement(sample), index, config.size_px))
                evaluated.append(sample)
                if sample < config.pictures:
                    draw = partial(self._draw, image, sample, of_image, pictures)
                    self._attempt("drawing a picture of the validation set", draw)
        self._assert_complete(evaluated)
        return Detections.concatenate(parts) if parts else Detections.empty(), losses, pictures

    def _predict(self, step: Step, images_BHW3: torch.Tensor) -> torch.Tensor:
        """Raw output. The batch is padded, because its size decides how layers are computed, and so the last bits."""
        missing = self.config.batch - len(images_BHW3)
        padded = torch.nn.functional.pad(images_BHW3, (0, 0, 0, 0, 0, 0, 0, missing)) if missing else images_BHW3
        return step.predict(padded)[: len(images_BHW3)]

    def _placement(self, sample: int) -> Placement:
        return whole_image(*self.loader.index.size_px(sample), self.config.size_px, self.loader.config.resize)

    def _assert_complete(self, evaluated: list[int]) -> None:
        shares = self.env.gather(np.array(evaluated, np.int64))
        if shares:
            counts = np.bincount(np.concatenate(shares), minlength=self.loader.index.num_samples)
            assert (counts == 1).all(), "an image was evaluated twice or not at all"

    def _draw(
        self, image: torch.Tensor, sample: int, found: ImageDetections, pictures: dict[int, NDArray[np.uint8]]
    ) -> None:
        index, ignored = self.loader.index, self.truths.ignored[self.loader.index.objects(sample)]
        threshold = self.config.picture_threshold
        pictures[sample] = draw_validation(
            image.cpu().byte().numpy(), index, sample, self._placement(sample), ignored, found, threshold
        )
