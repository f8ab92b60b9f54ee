"""The section `data` of a run's config."""

from dataclasses import dataclass, field
from typing import Literal

from data.images.augment import AugmentConfig
from data.images.geometry import CELL_PX, MOST_PX, Resize

MOST = {"batch": 1 << 20, "workers": 1 << 10, "num_slots": 1 << 15}  # what memory cannot hold in any case
UNRESOLVED_SLOTS = 50


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    train: str  #: folder of shards, or an address: http(s)://HOST/SET, s3://BUCKET/SET or pipe:COMMAND {}
    val: str  #: folder or address, as for `train`, of the shards to score
    staging: str | None = None  #: folder on a disk of each machine that remote shards are copied to
    classes: list[str] | None = None  #: classes that the shards must have; null: any
    batch: int = 64  #: [images] of one step, over all processes
    sides: list[int] = field(default_factory=lambda: list(range(320, 609, 32)))  #: [px] of inputs, multiples of 32
    batches_per_side: int = 10  #: [batches] between two draws of a side from `sides`; darknet: 10
    truth_slots: int | str = 50  #: [objects] of an image that are trained on (darknet: 30); auto: the most in the set
    window: int = 8  #: [shards] that are shuffled together
    workers: int = 4  #: [processes] that load data for each rank; 0: the training process itself
    geometry: Literal["workers", "device"] = "workers"  #: where images are cropped and resized (docs/data.md)
    colour: Literal["auto", "workers", "device"] = "auto"  #: where colours change; auto: on the device if it is CUDA
    decoded_cache: str | None = None  #: folder in memory, such as /dev/shm/voc, for decoded images
    max_faults: int = 20  #: [images] that a rank may replace as unreadable before it gives up
    resize: Resize = "letterbox"  #: how evaluation makes images square; darknet-...: as in darknet
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self) -> None:
        if not self.sides or any(side % CELL_PX or not CELL_PX <= side <= MOST_PX for side in self.sides):
            raise ValueError(
                f"data.sides={self.sides}: expected multiples of {CELL_PX} px, the stride of the network, up to "
                f"{MOST_PX:,} px"
            )
        if self.geometry == "device" and self.augment.mixed:
            raise ValueError(
                f"data.geometry=device with data.augment.mosaic={self.augment.mosaic}, mixup={self.augment.mixup}: the "
                "device lays one image into each canvas; leave geometry to the workers, or set both to 0"
            )
        if isinstance(self.truth_slots, str) and self.truth_slots != "auto":
            raise ValueError(f"data.truth_slots={self.truth_slots}: expected a number of objects, or auto")
        if self.num_slots < 1:
            raise ValueError(f"data.truth_slots={self.truth_slots}: expected at least 1")
        for name in ("batch", "batches_per_side", "window", "workers", "max_faults"):
            least = 0 if name in ("workers", "max_faults") else 1
            if getattr(self, name) < least:
                raise ValueError(f"data.{name}={getattr(self, name)}: expected at least {least}")
        for name, most in MOST.items():
            if getattr(self, name) > most:
                key = "truth_slots" if name == "num_slots" else name
                raise ValueError(f"data.{key}={getattr(self, name)}: expected at most {most:,}")

    @property
    def num_slots(self) -> int:
        """Truth slots; a default until `auto` is resolved."""
        return UNRESOLVED_SLOTS if isinstance(self.truth_slots, str) else self.truth_slots
