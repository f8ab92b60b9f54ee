"""What a person sees of a run: one line on the console, TensorBoard under RUN/board. Rank 0 shows, others take part.

The x axis is images seen, so that runs of different batch sizes lie over each other. Nothing that is shown ends a run.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from data.loading.batch import Batch
from data.view.attempts import Attempts
from launch.agreement import wait_for_device
from launch.environment import Environment
from train.evaluation.evaluator import Evaluation
from train.loss import Losses
from train.run.console import Console
from train.run.events import GLANCE, Events
from train.run.results import Results, ending
from train.stepping.step import Norms

BOARD, CONSOLE, RESULTS, CHARTS = "the TensorBoard log", "the console", "results.csv", "drawing charts"


@dataclass(frozen=True, kw_only=True)
class BoardConfig:
    every_batches: int = 10  #: [batches] between two log lines

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
        self._attempt = Attempts("training continues")
        self._events: Events | None = None
        self._console: Console | None = None
        self._results: Results | None = None
        self._training: dict[str, float] = {}  # of the last line

    def __enter__(self) -> "Board":
        if self.env.rank == 0:
            self._attempt(BOARD, self._open_events)
            self._attempt(CONSOLE, self._open_console)
            self._attempt(RESULTS, self._open_results)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if self._events is not None:
            self._attempt(BOARD, self._events.close)
        if self._console is not None:
            self._attempt(CONSOLE, self._console.close)
            if kind is None and self._results is not None:
                last_words = ending(self.folder.parent, self._results.best, self.images, self.end)
                self._attempt(CONSOLE, partial(self._console.say, last_words))

    def _open_events(self) -> None:
        self._events = Events(self.folder, self.images, self.settings)

    def _open_results(self) -> None:
        self._results = Results(self.folder.parent, self._start)

    def _open_console(self) -> None:
        self._console = Console(self._start, self.end)

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

    def _mean_losses(self) -> Losses:
        """Over the batches since the last line and over all processes, by the device's network. Waits for the device.

        Batches whose losses are not finite were left out by the step, and are here; nan where all were.
        """
        rows = torch.stack(self._losses)
        wait_for_device(self.env.device)
        rows = rows.cpu()
        finite = rows.isfinite().all(1)
        bad = ~rows.isfinite().all(0)
        mean, anywhere = self.env.mean(torch.stack([rows[finite].mean(0), bad.float()]).to(self.env.device)).cpu()
        if anywhere.any():
            self._say_who(bad)
        return Losses(*mean.unbind())

    def _say_who(self, bad_F: torch.Tensor) -> None:
        """bad_F: which fields of `Losses` were nan or infinite in this process."""
        bad = [name for name, was in zip(Losses._fields, bad_F.tolist(), strict=True) if was]
        who = [(rank, names) for rank, names in enumerate(self.env.broadcast(self.env.gather(bad))) if names]
        self.env.say(
            f"WARNING: loss terms were nan or infinite between images {self._logged_images} and {self.images}: "
            + "; ".join(f"{', '.join(names)} on rank {rank}" for rank, names in who)
            + "; those steps were left out. A lower schedule.rate or a longer burn-in keeps it from happening again"
        )

    def log(self, rate: float, side: int, norms: Norms) -> Losses:
        """Shows and gives means over the batches since the last line and over all processes. Training waits here."""
        losses = self._mean_losses()
        elapsed = time.perf_counter() - self._since
        speed = (self.images - self._logged_images) / elapsed
        share = self._waited / elapsed
        if self.env.rank == 0:
            as_darknet = {name: float(value) for name, value in losses.as_darknet.items()}
            values = {f"loss/{name}": float(getattr(losses, name)) for name in Losses._fields[:6]}
            values[GLANCE + "loss"] = float(losses.total)
            values |= {f"darknet/{name}": value for name, value in as_darknet.items()}
            values |= {"train/rate": rate, "train/side": side}
            values |= {f"train/{name}_norm": float(norm) for name, norm in norms._asdict().items()}
            values |= {"speed/images_per_s": speed, "speed/data_wait_share": share}
            self._record(values)
            self._training = {"loss/total": float(losses.total), "train/rate": rate}
            self._say(
                f"loss {float(losses.total):8.3f}  iou {as_darknet['Avg IOU']:.2f}  rate {rate:.1e}  side {side}  "
                f"{speed:6.1f} images/s  waits {share:4.0%}"
            )
        self._losses = []
        self._waited = 0.0
        self._since, self._logged_images = time.perf_counter(), self.images
        return losses

    def log_evaluation(self, evaluation: Evaluation, classes: tuple[str, ...], epoch: int) -> None:
        if self.env.rank != 0:
            return
        voc, coco = evaluation.voc, evaluation.coco
        of_classes = dict(zip(classes, evaluation.deciding_ap_C.tolist(), strict=True))
        values = {GLANCE + "mAP": evaluation.deciding_ap, **dict(evaluation.means())}
        if self._events is None:  # it failed; by now there may be room again
            self._attempt(BOARD, self._open_events)
        self._record(values | {f"class AP/{name}": value for name, value in of_classes.items()}, evaluation, classes)
        self._say(
            f"epoch {epoch}: {f'AP@[.5:.95] {coco.ap:.4f}  ' if coco else ''}"
            f"mAP@.5 {voc.map_area:.4f} (11-point {voc.map_11point:.4f})  "
            + "  ".join(f"{name} {value:.2f}" for name, value in of_classes.items()),
            keep=True,
        )
        if self._results is not None:
            add = partial(self._results.add, self.images, epoch, evaluation, self._training)
            draw = partial(self._results.draw, evaluation, classes, last=self.images >= self.end)
            if self._attempt(RESULTS, add):
                self._attempt(CHARTS, draw)

    def _record(
        self, values: Mapping[str, float], evaluation: Evaluation | None = None, classes: tuple[str, ...] = ()
    ) -> None:
        events = self._events
        if events is None:
            return

        def record() -> None:
            events.scalars(values, self.images)
            if evaluation is not None:
                events.evaluation(evaluation, classes, self.images)

        if not self._attempt(BOARD, record):
            self._attempt(BOARD, events.close)
            self._events = None

    def _say(self, text: str, keep: bool = False) -> None:
        console = self._console
        if console is not None:
            self._attempt(CONSOLE, partial(console.line, self.images, text, keep))

    def resume_clock(self) -> None:
        """Call after a pause (warm-up, evaluation) that is not training time."""
        self._since, self._logged_images, self._waited = time.perf_counter(), self.images, 0.0
        self._losses = []
        if self._console is not None and self.images == self._start:
            self._console.began = self._since
