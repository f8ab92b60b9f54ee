"""The section `step` of a run's config."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from train.schedule.duration import RunLength, given_images, parse_duration, require_one
from train.stepping.objective import Compression

Precision = Literal["fp32", "bf16", "fp16"]
CPU_INFO = Path("/proc/cpuinfo")  # on Linux
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def fast_precision(device: torch.device) -> Precision:
    """The value of `step.precision=auto` on a device: bf16 if that is fast, otherwise fp16 on CUDA and fp32 on a CPU.

    bf16 has 1.5 times the speed of float32 on CPUs with AMX and on AMD's with AVX-512, but .8 on Intel's without AMX.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    about = CPU_INFO.read_text() if CPU_INFO.exists() else ""
    fast = torch.cpu._is_amx_tile_supported() or ("AuthenticAMD" in about and "avx512_bf16" in about)
    return "bf16" if fast else "fp32"


@dataclass(frozen=True, kw_only=True)
class StepConfig:
    precision: Literal["auto", Precision] = "auto"  #: auto: the device's fastest, kept with the run; fp32 on CUDA: TF32
    compile: Literal["auto", "yes", "no"] = "auto"  #: auto: on CUDA only; on the CPU it is no faster than eager
    accumulate: int | str = 1  #: [parts] into which each process splits its share of a batch; auto: as few as fit
    compress: Compression = "none"  #: format in which gradients are exchanged; bf16 only between GPUs
    bucket_mb: int = 25  #: [MB] of gradients exchanged together, while backward continues
    recompute: bool = False  #: recompute activations in backward: half the memory, 1.3 times as long
    freeze: Literal["nothing", "backbone"] = "nothing"  #: whose weights and batch-norm statistics do not change
    optimizer: Literal["sgd", "adamw"] = "sgd"  #: darknet: sgd
    momentum: float = 0.9  #: [share] for sgd
    betas: list[float] = field(default_factory=lambda: [0.9, 0.999])  #: [share] two, for adamw
    eps: float = 1e-8  #: [number] for adamw
    decay: float = 5e-4  #: [rate] on convolution weights only (darknet's L2); adamw: decoupled, times the rate
    clip_norm: float | None = None  #: [norm] largest Euclidean norm of the whole gradient; null: no limit
    ema: str | None = None  #: EMA horizon of the evaluated weights ("1500 images", "2 epochs", "5 %")
    ema_images: int | None = None  #: [images] the same; neither, or 0: the newest weights are evaluated

    def __post_init__(self) -> None:
        if self.bucket_mb < 1:
            raise ValueError(f"step.bucket_mb={self.bucket_mb}: expected at least 1")
        if (self.ema_images or 0) < 0:
            raise ValueError(f"step.ema_images={self.ema_images}: expected a number of images, or 0 for no average")
        require_one(self.ema, self.ema_images, "step.ema", "ema_images")
        if self.ema is not None:
            parse_duration(self.ema, "step.ema")
        if self.accumulate != "auto" and (isinstance(self.accumulate, str) or self.accumulate < 1):
            raise ValueError(f"step.accumulate={self.accumulate}: expected at least 1, or auto")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"step.clip_norm={self.clip_norm}: expected a norm above 0, or null for no clipping")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in (*self.betas, self.momentum)):
            raise ValueError(
                f"step.betas={self.betas}, momentum={self.momentum}: expected two betas, all in 0 <= value < 1"
            )
        if not self.eps > 0 or not self.decay >= 0:
            raise ValueError(f"step.eps={self.eps}, decay={self.decay}: expected eps > 0 and decay >= 0")

    def in_images(self, run: RunLength) -> "StepConfig":
        """The config for a run of this length, with every duration in images."""
        return replace(self, ema=None, ema_images=given_images(self.ema, self.ema_images, 0, "step.ema", run))
