"""One optimizer step: forward, loss, backward, update.

Nothing here waits for the device.
"""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from data.images.on_device import place_packed
from data.loading.batch import Batch
from data.wording import counted
from launch.processes.environment import Environment
from train.graph.network import Graph
from train.layers import Stack
from train.loss import Losses, YOLOv2Loss
from train.model import YOLOv2
from train.schedule.learning_rate import ScheduleConfig, learning_rate
from train.stepping.config import DTYPES, StepConfig, fast_precision
from train.stepping.ema import Ema
from train.stepping.objective import Objective, data_parallel, predict
from train.stepping.optimizer import build_optimizer, load_state, set_rate
from train.stepping.update import Update, total_norm


class Norms(NamedTuple):
    """Euclidean norms, on the device, equal on all processes."""

    gradient: torch.Tensor  #: of the last step's gradient, before clipping; not finite if that step was skipped
    weights: torch.Tensor  #: of all parameters now


class Step:
    """`step(batch, images_seen)` trains on one batch and returns its `Losses`, on the device.

    Durations of its configs are in images.
    """

    def __init__(
        self, config: StepConfig, schedule: ScheduleConfig, model: YOLOv2, loss: YOLOv2Loss, env: Environment
    ) -> None:
        self.config, self.schedule, self.env = config, schedule, env
        precision = fast_precision(env.device) if config.precision == "auto" else config.precision
        self.dtype = DTYPES[precision]
        self.model = model.to(env.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.loss = loss.to(env.device)
        if config.freeze == "backbone":
            model.freeze_backbone()
        if config.recompute and isinstance(model.backbone, Graph):
            raise ValueError("step.recompute=true: expected a variant or model.layers; model.graph has no stages")
        for module in model.modules():
            if isinstance(module, Stack):
                module.recompute = config.recompute
        self.warm = False  # True after the warm-up, when nothing more should be compiled
        self.parts = 1 if config.accumulate == "auto" else int(config.accumulate)  # auto: the warm-up finds it
        self.images_at_once: int | None = None  # what batch norm sees: in this start, or the previous one
        self.ema = Ema(self.model, config.ema_images) if config.ema_images else None
        objective = Objective(self.model, self.loss, self.dtype)
        self.compiled = config.compile == "yes" or (config.compile == "auto" and env.device.type == "cuda")
        if self.compiled:
            torch._dynamo.config.recompile_limit = 64  # one graph for each side; beyond the limit it would run eagerly
            objective.compile(fullgraph=True, dynamic=False)
        self._place = torch.compile(place_packed, dynamic=True) if self.compiled else place_packed
        self.objective = data_parallel(objective, env, config.compress, config.bucket_mb)
        self.optimizer = build_optimizer(config, model, schedule.backbone_rate)
        self.scaler = torch.amp.GradScaler(env.device.type, enabled=precision == "fp16")
        self.update = Update(self.optimizer, self.scaler, config.clip_norm, env.device)
        trained = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d) and module.training]
        self.statistics = [b for norm in trained for b in (norm.running_mean, norm.running_var) if b is not None]

    def __call__(self, batch: Batch, images_seen: int) -> Losses:
        """Trains on the batch. images_seen: before this batch."""
        local = batch.truths.shape[0]
        seen = images_seen + local * self.env.world_size
        set_rate(self.optimizer, learning_rate(seen, self.schedule))
        graphs, statistics = num_graphs(), self._joined_statistics()
        summed = self.accumulate(batch, images_seen, self.parts)
        if self.warm and num_graphs() > graphs:
            self.env.say(
                f"WARNING: the step was compiled again, for {counted(local, 'image')} of {batch.side} px: the warm-up "
                "should have done so; TORCH_LOGS=recompiles shows why, step.compile=no avoids it"
            )
        applied = self.update()
        self._settle_statistics(statistics, applied)
        if self.ema is not None:
            self.ema.update(seen, seen - images_seen, applied)
        return Losses(*summed.unbind())

    def norms(self) -> Norms:
        """The norms; call it after a step."""
        return Norms(self.update.gradient_norm, total_norm(p.detach() for p in self.model.parameters()))

    def accumulate(self, batch: Batch, images_seen: int, parts: int, *, exchange: bool = True) -> torch.Tensor:
        """Accumulates gradients of the mean loss over the local batch; the last part's backward exchanges them.

        Returns the fields of `Losses`, means over the local batch, as one vector.
        """
        device = self.env.device
        local = batch.truths.shape[0]
        if local % parts:
            raise ValueError(
                f"step.accumulate={parts} does not divide the batch of each process, {counted(local, 'image')}; "
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

    def _joined_statistics(self) -> torch.Tensor:
        """Batch-norm statistics as one tensor; empty if none are trained."""
        return torch.cat(self.statistics) if self.statistics else torch.empty(0)

    @torch.no_grad()
    def _settle_statistics(self, before: torch.Tensor, applied: torch.Tensor) -> None:
        """Averages batch-norm statistics over processes after every step; restores them if it was skipped.

        They are linear in what each process saw, so this is their exact mean; and with equal numbers everywhere one
        process's checkpoint is the state of all.
        """
        if not self.statistics:
            return
        flat = self.env.mean(self._joined_statistics())
        flat = torch.where(applied & flat.isfinite().all(), flat, before)
        for statistic, settled in zip(
            self.statistics, torch.split(flat, [s.numel() for s in self.statistics]), strict=True
        ):
            statistic.copy_(settled)

    @torch.inference_mode()
    def predict(self, images_BSS3: torch.Tensor) -> torch.Tensor:
        """Predicts with the averaged weights if there are any."""
        model = self.ema.model if self.ema else self.model
        model.eval()
        raw = predict(model, images_BSS3.to(self.env.device, non_blocking=True), self.dtype)
        self.model.train()
        return raw

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
        load_state(self.optimizer, state["optimizer"])
        if state["scaler"]:  # empty if the run was not fp16 before this start
            self.scaler.load_state_dict(state["scaler"])
        at_once = state.get("images_at_once")
        if at_once is not None and (not isinstance(at_once, int) or at_once < 1):
            raise ValueError(f"expected a number of images at once, found {at_once!r}")
        self.images_at_once = at_once
        if self.ema is not None:
            self.ema.load_state_dict(evaluated_weights(state))


def num_graphs() -> int:
    """Graphs compiled in this process so far."""
    return int(torch._dynamo.utils.counters["stats"]["unique_graphs"])


def evaluated_weights(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Weights that a `Step` with this state predicts with: averaged ones if it has them."""
    weights: Mapping[str, Any] = state.get("ema", state["model"])
    return weights
