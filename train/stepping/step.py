"""One optimizer step: forward, loss, backward, update. Owns precision, compilation, memory and the optimizer.

Nothing here waits for the device.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from data.images.on_device import place_packed
from data.loading.batch import Batch
from launch.environment import Environment
from launch.stop import Stop
from train.layers import Stack
from train.loss import Losses, YOLOv2Loss
from train.model import YOLOv2
from train.stepping.ema import Ema
from train.stepping.memory import Memory, step_memory
from train.stepping.objective import Compression, Objective, exchanging, predict
from train.stepping.schedule import ScheduleConfig, learning_rate

ROOM = 0.9  # of the memory that is free: allocators and libraries want some
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


class Norms(NamedTuple):
    """Euclidean, on the device, equal on all processes."""

    gradient: torch.Tensor  #: of the last step's gradient; not finite where fp16 scaling left that step out
    weights: torch.Tensor  #: of all parameters now


class Step:
    """`step(batch, images_seen)` trains on one batch and returns its `Losses`, on the device."""

    def __init__(
        self, config: StepConfig, schedule: ScheduleConfig, model: YOLOv2, loss: YOLOv2Loss, env: Environment
    ) -> None:
        self.config, self.schedule, self.env = config, schedule, env
        self.dtype = DTYPES[config.precision]
        self.model = model.to(env.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = loss.to(env.device)
        for module in model.modules():
            if isinstance(module, Stack):
                module.recompute = config.recompute
        self._warm = False  # after the warm-up nothing should be compiled
        self.parts = None if config.accumulate == "auto" else int(config.accumulate)
        self.images_at_once: int | None = None  # what batch norm sees: of this start, or of the one before it
        self.ema = Ema(self.model, config.ema_images) if config.ema_images else None
        objective = Objective(self.model, self.loss, self.dtype)
        self.compiled = config.compile == "yes" or (config.compile == "auto" and env.device.type == "cuda")
        if self.compiled:
            torch._dynamo.config.recompile_limit = 64  # one graph for each side; beyond the limit it would run eagerly
            objective.compile(fullgraph=True, dynamic=False)
        self._place = torch.compile(place_packed, dynamic=True) if self.compiled else place_packed
        self.objective = exchanging(objective, env, config.compress, config.bucket_mb)
        self.optimizer = torch.optim.SGD(
            [
                {"params": [p for p in model.parameters() if p.ndim == 4], "weight_decay": config.decay},
                {"params": [p for p in model.parameters() if p.ndim != 4], "weight_decay": 0.0},
            ],
            lr=0.0,
            momentum=config.momentum,
            fused=True,
        )
        for parameter in model.parameters():
            # torch leaves the buffers of a fused SGD unwritten when fp16 scaling skips the very first step
            self.optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        self.scaler = torch.amp.GradScaler(env.device.type, enabled=config.precision == "fp16")
        self._one = torch.ones((), device=env.device)
        self.statistics = [b for name, b in model.named_buffers() if name.endswith(("running_mean", "running_var"))]

    def __call__(self, batch: Batch, images_seen: int) -> Losses:
        """`images_seen`: before this batch."""
        local = batch.truths.shape[0]
        seen = images_seen + local * self.env.world_size
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(seen, self.schedule)
        self.parts = self.parts or 1  # "auto" without a warm-up
        graphs = num_graphs()
        summed = self._accumulate(batch, images_seen, self.parts)
        if self._warm and num_graphs() > graphs:
            self.env.say(
                f"WARNING: the step was compiled again, for {local} images of {batch.side} px: the warm-up should have "
                "done it; TORCH_LOGS=recompiles tells why, step.compile=no does without"
            )
        scale = self.scaler.scale(self._one)
        self._gradient_norm = _norm(p.grad for p in self.model.parameters() if p.grad is not None) / scale
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self._average_statistics()
        if self.ema is not None:  # a step that is left out lowers the scale
            applied = self.scaler.scale(self._one) >= scale if self.scaler.is_enabled() else None
            self.ema.update(seen, seen - images_seen, applied)
        return Losses(*summed.unbind())

    def norms(self) -> Norms:
        """To be asked after a step."""
        return Norms(self._gradient_norm, _norm(p.detach() for p in self.model.parameters()))

    def _accumulate(self, batch: Batch, images_seen: int, parts: int, *, exchange: bool = True) -> torch.Tensor:
        """Gradients of the mean over the local batch, exchanged between processes with the last part."""
        device = self.env.device
        local = batch.truths.shape[0]
        if local % parts:
            raise ValueError(
                f"step.accumulate={parts} does not divide the {local} images of each process; "
                "change it, data.batch or the number of processes"
            )
        images = batch.images.to(device, non_blocking=True)
        truths = batch.truths.to(device, non_blocking=True)
        colours: Sequence[torch.Tensor | None] = [None] * parts
        if batch.colours is not None:
            colours = batch.colours.to(device, non_blocking=True).chunk(parts)
        if batch.layout is not None:
            images = self._place(images, batch.layout.to(device, non_blocking=True), batch.side)
        position = torch.full((), images_seen, device=device)  # filled in there: a copy would wait for the device
        summed = torch.zeros(len(Losses._fields), device=device)
        share = 1 / parts
        for number, part in enumerate(zip(images.chunk(parts), colours, truths.chunk(parts), strict=True)):
            with contextlib.nullcontext() if exchange and number == parts - 1 else self._no_exchange():
                total, losses = self.objective(*part, position)
                self.scaler.scale(total * share).backward()
            summed += losses * share
        return summed

    def _no_exchange(self) -> contextlib.AbstractContextManager[None]:
        if isinstance(self.objective, DistributedDataParallel):
            return self.objective.no_sync()
        return contextlib.nullcontext()

    @torch.no_grad()
    def _average_statistics(self) -> None:
        """Batch-norm statistics: the mean over processes, after every step.

        They are linear in what each process saw, so this is their exact mean; and with the same numbers everywhere a
        checkpoint of one process is the state of all.
        """
        if self.env.world_size == 1:
            return
        flat = self.env.mean(torch.cat(self.statistics))
        for statistic, mean in zip(
            self.statistics, torch.split(flat, [s.numel() for s in self.statistics]), strict=True
        ):
            statistic.copy_(mean)

    @torch.inference_mode()
    def predict(self, images_BSS3: torch.Tensor) -> torch.Tensor:
        """By the averaged weights where there are any."""
        model = self.ema.model if self.ema else self.model
        model.eval()
        raw = predict(model, images_BSS3.to(self.env.device, non_blocking=True), self.dtype)
        self.model.train()
        return raw

    def warm_up(self, batches: Iterator[Batch], stop: Stop) -> None:
        """Throw-away passes before the first step of a fresh or resumed run alike, over a batch of every side.

        Finds out now into how many parts a batch must be cut (the largest side comes first), compiles every side, and
        makes DDP settle its buckets: they are rebuilt after the first backward, which changes the order of summation,
        so that without it a resumed run of three or more processes would not repeat bit for bit. Leaves weights,
        statistics and random state as they were. Ends early where processes agree to stop.
        """
        kept = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        for batch in batches if self.compiled else islice(batches, 1):
            if stop.agreed():
                break
            self._settle_parts(batch)
            assert self.parts is not None
            try:
                for _ in range(2):
                    self._accumulate(batch, 0, self.parts)
                    self.optimizer.zero_grad(set_to_none=True)
            except torch.OutOfMemoryError as error:
                raise ValueError(
                    f"expected memory for {self.images_at_once} images of {batch.side} px at once, found too little "
                    f"({str(error).partition('. ')[0]}); set step.accumulate=auto, or step.recompute=true"
                ) from error
        for name, buffer in self.model.named_buffers():
            buffer.copy_(kept[name])
        self._warm = True

    def _settle_parts(self, batch: Batch) -> None:
        """The fewest parts that fit, on all processes; a run that goes on keeps its number of images at once."""
        local, before = batch.truths.shape[0], self.images_at_once
        if self.parts is None:
            most = before or local
            limit = ROOM * self.env.memory()
            for parts in (n for n in range(1, local + 1) if local % n == 0 and local // n <= most):
                if self.memory(batch, parts).total <= limit and not self.env.any(self._runs_out(batch, parts)):
                    self.parts = parts
                    break
            else:
                raise ValueError(
                    f"step.accumulate=auto: expected room for one image of {batch.side} px at once, found "
                    f"{limit / 1e9:.1f} GB; lower data.sides or model.width, or set step.recompute=true"
                )
            self.env.say(f"step.accumulate=auto: {local // self.parts} of {local} images at once in each process")
        self.images_at_once = local // self.parts
        if before and before != self.images_at_once:
            self.env.say(
                f"WARNING: {self.images_at_once} images at once, {before} before this start: batch norm sees another "
                "number of images, so the run goes on well but not with the bits of one that was not stopped"
            )

    def _runs_out(self, batch: Batch, parts: int) -> bool:
        """Whether a pass finds no memory. Without exchange: the other processes need not get as far."""
        try:
            self._accumulate(batch, 0, parts, exchange=False)
        except torch.OutOfMemoryError:
            return True
        finally:
            self.optimizer.zero_grad(set_to_none=True)
            if self.env.device.type == "cuda":
                torch.cuda.empty_cache()
        return False

    def memory(self, batch: Batch, parts: int) -> Memory:
        """What a step on such a batch takes at its peak, as predicted."""
        return step_memory(
            self.model,
            side=batch.side,
            local=batch.truths.shape[0],
            parts=parts,
            dtype=self.dtype,
            averaged=self.ema is not None,
            recompute=self.config.recompute,
            distributed=self.env.world_size > 1,
            truth_slots=batch.truths.shape[1],
            prefetched=self.env.device.type == "cuda",
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            **({"ema": self.ema.state_dict()} if self.ema else {}),
            "images_at_once": self.images_at_once,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.images_at_once = state.get("images_at_once")
        if self.ema is not None:
            self.ema.load_state_dict(evaluated_weights(state))


def num_graphs() -> int:
    """Compiled in this process so far."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def evaluated_weights(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of the state of a `Step`: the weights that it predicts with, averaged where it had such."""
    weights: Mapping[str, Any] = state.get("ema", state["model"])
    return weights


def _norm(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    return nn.utils.get_total_norm(tensors)
