"""Shows a run: one line on the console, TensorBoard under RUN/board. Rank 0 shows it, the others take part.

The x axis is images seen, so that runs of different batch sizes can be compared. A failing display never ends a run.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import torch

from data.loading.batch import Batch
from data.view.attempts import Attempts
from data.view.batch_sheet import batch_sheet, write_png
from data.wording import counted, duration_text
from launch.processes.environment import Environment
from train.evaluation.evaluator import Evaluation
from train.loss import Losses
from train.run.display.console import Console
from train.run.display.events import GLANCE, Events, training_scalars
from train.run.display.lines import evaluation_line, training_line
from train.run.display.mean_losses import mean_losses
from train.run.results import TRAINING_BATCH, Results, ending
from train.schedule.duration import RunLength
from train.stepping.step import Norms

BOARD, CONSOLE, RESULTS = "the TensorBoard log", "the console", "results.csv"
CHARTS, BATCH = "drawing charts", "drawing a training batch"


@dataclass(frozen=True, kw_only=True)
class BoardConfig:
    every_batches: int = 10  #: [batches] between two log lines

    def __post_init__(self) -> None:
        if self.every_batches < 1:
            raise ValueError(f"board.every_batches={self.every_batches}: expected at least 1")


class Board:
    """Use as a context; `timed` wraps the loader, `add` collects the losses of each step, `log` shows their means."""

    def __init__(
        self,
        folder: Path,
        config: BoardConfig,
        env: Environment,
        classes: tuple[str, ...],
        start: int,
        run: RunLength,
        settings: dict[str, Any],
    ) -> None:
        """start: images seen now. settings: flat, for TensorBoard's hparams."""
        self.folder, self.config, self.env, self.classes, self.settings = folder, config, env, classes, settings
        self.epochs, self.end = run.epochs, run.images
        self.images = self._logged_images = start
        self._losses: list[torch.Tensor] = []
        self._waited_s = 0.0
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
                last_words = ending(self.folder.parent, self._results.best, self.images, max(self.end, self._start))
                self._attempt(CONSOLE, partial(self._console.say, last_words))

    def _open_events(self) -> None:
        self._events = Events(self.folder, self.images, self.settings, self.classes)

    def _open_results(self) -> None:
        self._results = Results(self.folder.parent, self._start)

    def _open_console(self) -> None:
        self._console = Console(self._start, self.end, self.epochs)

    def timed(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """The same batches; measures how long the training process waits for each. Shows the first one."""
        for number in count():
            asked = time.perf_counter()
            batch = next(batches, None)
            self._waited_s += time.perf_counter() - asked
            if batch is None:
                return
            if number == 0 and self.env.rank == 0:
                self._attempt(BATCH, partial(self._show_batch, batch))
            yield batch

    def _show_batch(self, batch: Batch) -> None:
        picture = batch_sheet(batch, self.classes)
        write_png(self.folder.parent / TRAINING_BATCH, picture)
        if self._events is not None:
            self._events.picture(GLANCE + "training batch", picture, self.images)

    def add(self, losses: Losses, images: int) -> bool:
        """Keeps the losses on the device; returns whether a log line is due."""
        self._losses.append(torch.stack(list(losses)))
        before, self.images = self.images, images
        every = self.config.every_batches * (images - before)
        return images // every > before // every  # at the same positions wherever the run was stopped and resumed

    def log(self, rate: float, side: int, norms: Norms) -> Losses:
        """Shows and returns means over the batches since the last line and over all processes. Waits for the device."""
        losses = mean_losses(self._losses, self.env, self._logged_images, self.images)
        elapsed = time.perf_counter() - self._since
        speed = {
            "images_per_s": (self.images - self._logged_images) / elapsed,
            "wait_share": self._waited_s / elapsed,
        }
        if self.env.rank == 0:
            self._record(training_scalars(losses, norms, rate=rate, side=side, **speed))
            self._training = {"loss/total": float(losses.total), "train/rate": rate}
            self._say(training_line(losses, rate=rate, side=side, **speed))
        self._losses = []
        self._waited_s = 0.0
        self._since, self._logged_images = time.perf_counter(), self.images
        return losses

    def show_progress(self, images: int, total: int) -> None:
        """Shows how far an evaluation has come."""
        if self._console is not None:
            self._attempt(CONSOLE, partial(self._console.aside, f"evaluating: {images:,} of {counted(total, 'image')}"))

    def log_evaluation(self, evaluation: Evaluation, epoch: int) -> None:
        """Shows the scores of an evaluation everywhere, and draws its charts. epoch: complete ones so far."""
        if self.env.rank != 0:
            return
        epoch = min(epoch, self.epochs)  # the last batch may reach into an epoch beyond the run's end
        class_ap = dict(zip(self.classes, evaluation.deciding_ap_C.tolist(), strict=True))
        values = {GLANCE + "mAP": evaluation.deciding_ap, **dict(evaluation.means())}
        if self._events is None:  # it failed; by now there may be space again
            self._attempt(BOARD, self._open_events)
        self._record(values | {f"class AP/{name}": value for name, value in class_ap.items()}, evaluation)
        self._say(evaluation_line(evaluation, self.classes, epoch, self.epochs), keep=True)
        if self._results is not None:
            add = partial(self._results.add, self.images, epoch, evaluation, self._training)
            if self._attempt(RESULTS, add):
                self._attempt(CHARTS, partial(self._draw, self._results, evaluation))

    def _draw(self, results: Results, evaluation: Evaluation) -> None:
        chart = results.draw(evaluation, self.classes, last=self.images >= self.end)
        if chart is not None and self._events is not None:
            self._events.picture(GLANCE + "mAP, class by class", chart, self.images)

    def _record(self, values: Mapping[str, float], evaluation: Evaluation | None = None) -> None:
        events = self._events
        if events is None:
            return

        def record() -> None:
            events.scalars(values, self.images)
            if evaluation is not None:
                events.evaluation(evaluation, self.images)

        if not self._attempt(BOARD, record):
            self._attempt(BOARD, events.close)
            self._events = None

    def _say(self, text: str, keep: bool = False) -> None:
        console = self._console
        if console is not None:
            self._attempt(CONSOLE, partial(console.line, self.images, text, keep))

    def start_clock(self, images_per_s: float | None) -> None:
        """Call after the warm-up; says, from its speed, how long the run will take."""
        if images_per_s:
            seconds = (self.end - self.images) / images_per_s
            self.env.say(
                f"time     {duration_text(seconds)} without evaluations, at {images_per_s:.3g} images/s in the warm-up"
            )
        self.resume_clock()

    def resume_clock(self) -> None:
        """Call after a pause, such as an evaluation, that is not training time."""
        self._since, self._logged_images, self._waited_s = time.perf_counter(), self.images, 0.0
        self._losses = []
        if self._console is not None and self.images == self._start:
            self._console.began = self._since
