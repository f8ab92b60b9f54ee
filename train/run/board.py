"""What a person sees of a run: one line on the console, TensorBoard under RUN/board. Rank 0 shows, others take part.

The x axis is images seen, so that runs of different batch sizes lie over each other.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from data.loading.batch import Batch
from launch.environment import Environment
from train.evaluation.evaluator import Evaluation
from train.loss import Losses
from train.run.checkpoint import newest
from train.run.event_file import GLANCE, Events
from train.stepping.step import Norms


@dataclass(frozen=True, kw_only=True)
class BoardConfig:
    every_batches: int = 10  #: between two log lines

    def __post_init__(self) -> None:
        if self.every_batches < 1:
            raise ValueError(f"board.every_batches={self.every_batches}: expected at least 1")


class Board:
    """Use as a context; `waiting` wraps the loader, `add` takes each step's losses, `log` shows their mean."""

    def __init__(
        self, folder: Path, config: BoardConfig, env: Environment, *, start: int, end: int, settings: dict[str, Any]
    ) -> None:
        """start, end: images seen now and at the end. settings: flat, for TensorBoard's hparams."""
        self.folder, self.config, self.env, self.end, self.settings = folder, config, env, end, settings
        self.images = self._logged_images = start
        self._losses: list[torch.Tensor] = []
        self._waited = 0.0
        self._since = time.perf_counter()
        self._start = start

    def __enter__(self) -> "Board":
        self._events = self._console = None
        if self.env.rank == 0:
            self._events = Events(self.folder, self._start, self.settings)
            self._console = _Console(self._start, self.end)
        return self

    def __exit__(self, *_: object) -> None:
        if self._events is not None:
            self._events.close()
        if self._console is not None:
            self._console.close()

    def waiting(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches; how long the training process waits for them is what the loader costs."""
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            self._waited += time.perf_counter() - asked
            if batch is None:
                return
            yield batch

    def add(self, losses: Losses, images: int) -> bool:
        """Keeps the losses on the device; whether a log line is due."""
        self._losses.append(torch.stack(list(losses)))
        before, self.images = self.images, images
        every = self.config.every_batches * (images - before)
        return images // every > before // every  # at the same positions whenever the run was stopped and resumed

    def require_finite_losses(self) -> None:
        """FloatingPointError if a loss since the last line is not finite in any process: to be asked before a save."""
        self._mean_losses()

    def _mean_losses(self) -> Losses | None:
        """Over the batches since the last line and over all processes, None if there are none. Waits for the device."""
        if not self._losses:
            return None
        own = torch.stack(self._losses).mean(0).cpu()
        mean = self.env.mean(own.clone())
        bad = [name for name, value in zip(Losses._fields, own.tolist(), strict=True) if not np.isfinite(value)]
        who = [(rank, names) for rank, names in enumerate(self.env.broadcast(self.env.gather(bad))) if names]
        if who:
            resumed = newest(self.folder.parent / "checkpoints") or "its beginning"
            raise FloatingPointError(
                f"loss terms became nan or infinite between images {self._logged_images} and {self.images}: "
                + "; ".join(f"{', '.join(names)} on rank {rank}" for rank, names in who)
                + f"; nothing was saved since. Start again: the run goes on from {resumed}; a lower schedule.rate "
                "or a longer schedule.burn_in_images keeps it from happening again"
            )
        return Losses(*mean.unbind())

    def log(self, rate: float, side: int, norms: Norms) -> None:
        """Means over the batches since the last line and over all processes. The one place where training waits."""
        losses = self._mean_losses()
        assert losses is not None, "a line without batches"
        elapsed = time.perf_counter() - self._since
        speed = (self.images - self._logged_images) / elapsed
        share = self._waited / elapsed
        if self._events is not None and self._console is not None:
            as_darknet = {name: float(value) for name, value in losses.as_darknet.items()}
            values = {f"loss/{name}": float(getattr(losses, name)) for name in Losses._fields[:6]}
            values[GLANCE + "loss"] = float(losses.total)
            values |= {f"darknet/{name}": value for name, value in as_darknet.items()}
            values |= {"train/rate": rate, "train/side": side}
            values |= {f"train/{name}_norm": float(norm) for name, norm in norms._asdict().items()}
            values |= {"speed/images_per_s": speed, "speed/data_wait_share": share}
            self._events.scalars(values, self.images)
            self._console.line(
                self.images,
                f"loss {float(losses.total):8.3f}  iou {as_darknet['Avg IOU']:.2f}  rate {rate:.1e}  side {side}  "
                f"{speed:6.1f} images/s  waits {share:4.0%}",
            )
        self._losses = []
        self._waited = 0.0
        self._since, self._logged_images = time.perf_counter(), self.images

    def log_evaluation(self, evaluation: Evaluation, classes: tuple[str, ...], epoch: int) -> None:
        if self._events is None or self._console is None:
            return
        voc, coco = evaluation.voc, evaluation.coco
        of_classes = dict(zip(classes, evaluation.deciding_ap_C.tolist(), strict=True))
        values = {GLANCE + "mAP": evaluation.deciding_ap, **dict(evaluation.means())}
        values |= {f"class AP/{name}": value for name, value in of_classes.items()}
        self._events.scalars(values, self.images)
        self._events.curves(voc, classes, self.images)
        for number, picture in enumerate(evaluation.pictures):
            self._events.picture(f"{GLANCE}picture {number}", picture, self.images)
        self._events.flush()
        self._console.line(
            self.images,
            f"epoch {epoch}: {f'AP@[.5:.95] {coco.ap:.4f}  ' if coco else ''}"
            f"mAP@.5 {voc.map_area:.4f} (11-point {voc.map_11point:.4f})  "
            + "  ".join(f"{name} {value:.2f}" for name, value in of_classes.items()),
            keep=True,
        )

    def resume_clock(self) -> None:
        """Call after a pause (warm-up, evaluation) that is not training time."""
        self._since, self._logged_images, self._waited = time.perf_counter(), self.images, 0.0
        self._losses = []
        if self._console is not None and self.images == self._start:
            self._console.began = self._since


class _Console:
    """A live bar on a terminal; elsewhere plain lines, as a batch job's log file wants them."""

    def __init__(self, start: int, stop: int) -> None:
        self.stop = stop
        self.began, self.start = time.perf_counter(), start
        self.bar: Progress | None = None
        if sys.stdout.isatty():
            columns = (BarColumn(), TextColumn("{task.percentage:3.0f} %"), TextColumn("{task.description}"))
            self.bar = Progress(*columns, TimeRemainingColumn(), console=Console())
            self.task: TaskID = self.bar.add_task("", total=stop, completed=start)
            self.bar.start()

    def line(self, images: int, text: str, keep: bool = False) -> None:
        if self.bar is not None:
            if keep:
                self.bar.console.print(text)
            else:
                self.bar.update(self.task, completed=images, description=text)
            return
        left = (time.perf_counter() - self.began) / max(images - self.start, 1) * (self.stop - images)
        print(f"{images:>9}/{self.stop} images  {text}  left {max(left, 0) / 60:.1f} min", flush=True)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
