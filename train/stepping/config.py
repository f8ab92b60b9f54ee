"""What a user may choose about a step."""

from dataclasses import dataclass
from typing import Literal

import torch

from train.stepping.objective import Compression

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"  #: of the network; fp32 on CUDA: TF32, torch's default
    compile: Literal["auto", "yes", "no"] = "auto"  #: auto: on CUDA; inductor on the CPU is no faster than eager
    accumulate: int | str = 1  #: parts into which each process cuts its share of the batch; "auto": as few as fit
    compress: Compression = "none"  #: what gradients travel in; bf16 only between GPUs
    bucket_mb: int = 25  #: of gradients that travel together, while backward goes on
    recompute: bool = False  #: activations again in backward: half the memory, 1.3 times as long
    momentum: float = 0.9
    decay: float = 5e-4  #: L2, on convolution weights only (darknet update_convolutional_layer)
    ema_images: int = 0  #: weights averaged over about so many images are evaluated and detect; 0: the newest are

    def __post_init__(self) -> None:
        if self.bucket_mb < 1:
            raise ValueError(f"step.bucket_mb={self.bucket_mb}: expected at least 1")
        if self.ema_images < 0:
            raise ValueError(f"step.ema_images={self.ema_images}: expected a number of images, or 0 for no average")
        if self.accumulate != "auto" and (isinstance(self.accumulate, str) or self.accumulate < 1):
            raise ValueError(f"step.accumulate={self.accumulate}: expected at least 1, or auto")
