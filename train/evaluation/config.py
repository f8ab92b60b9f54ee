"""The section `evaluate` of a run's config."""

from dataclasses import dataclass
from typing import Literal

from data.images.geometry import CELL_PX, MOST_PX

AUTO = "auto"
MOST_IN_BATCH = 1 << 20  # images
EVALUATIONS = 40  # of a run with every_epochs=auto


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    side: int = 416  #: [px] of the square input, or its width
    height: int | None = None  #: [px] of the input; null: as its width. Training is always on squares
    every_epochs: int | str = 1  #: [epochs] between two evaluations; auto: about 40 evaluations in a run
    patience: int | None = None  #: [evaluations] without improvement after which the run ends; null: never
    batch: int = 32  #: [images] of one forward pass in each process
    score_threshold: float = 0.005  #: [score] detections below it do not count; darknet detector valid: .005
    iou_threshold: float = 0.45  #: [IoU] of non-maximum suppression
    max_detections: int | None = None  #: [detections] per image at most; null: 100 by COCO's protocol, all by VOC's
    protocol: Literal["auto", "voc", "coco"] = "auto"  #: whose score decides what is best; auto: by the set's source
    coco_backend: Literal["own", "pycocotools"] = "own"  #: the same numbers; pycocotools is slow
    pictures: int = 8  #: [images] to draw with truths and detections
    picture_threshold: float = 0.3  #: [score] detections below it are not drawn

    def __post_init__(self) -> None:
        for name, length in (("side", self.side), ("height", self.height)):
            if length is not None and (length % CELL_PX or not CELL_PX <= length <= MOST_PX):
                raise ValueError(
                    f"evaluate.{name}={length}: expected a multiple of {CELL_PX} px, the stride of the network, up to "
                    f"{MOST_PX:,} px"
                )
        if not 1 <= self.batch <= MOST_IN_BATCH:
            raise ValueError(f"evaluate.batch={self.batch}: expected 1 to {MOST_IN_BATCH:,}")
        if self.every_epochs != AUTO and (isinstance(self.every_epochs, str) or self.every_epochs < 1):
            raise ValueError(f"evaluate.every_epochs={self.every_epochs}: expected at least 1, or auto")
        if self.patience is not None and self.patience < 1:
            raise ValueError(f"evaluate.patience={self.patience}: expected at least 1, or null")
        if self.max_detections is not None and self.max_detections < 1:
            raise ValueError(f"evaluate.max_detections={self.max_detections}: expected at least 1, or null for all")

    @property
    def size_px(self) -> tuple[int, int]:
        """Width and height of the input."""
        return self.side, self.height or self.side

    @property
    def size(self) -> str:
        """The size of the input as it is shown: 416, or 480x288."""
        return "x".join(str(length) for length in dict.fromkeys(self.size_px))

    def epochs_between(self, epochs: int) -> int:
        """Epochs between two evaluations in a run of `epochs`."""
        return max(epochs // EVALUATIONS, 1) if isinstance(self.every_epochs, str) else self.every_epochs
