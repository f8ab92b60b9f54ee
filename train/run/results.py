"""The results in a run folder, from the first evaluation on: RUN/results.csv, and charts beside it.

A line of results.csv is one evaluation: images seen, epoch, mAP (which decides what network is best), then all its
means and the last numbers of training. A resumed run drops the lines beyond the position that it resumes from.
"""

import csv
import io
import shlex
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.files import write_whole
from data.view.batch_sheet import tiled, write_png
from data.wording import counted
from train.evaluation.evaluator import Evaluation

NAME = "results.csv"
CHARTS = ("results.png", "class_ap.png", "confusion_matrix.png", "curves.png", "f1.png")
VALIDATION = "validation.png"  # the pictures of the board: truths and detections
TRAINING_BATCH = "training_batch.png"  # the newest start's first batch, as the network sees it
LOSSES = {"loss/total": ("loss", "train"), "val/loss": ("loss", "val")}  # in one chart
SHARE = 0.02  # of the time between evaluations that drawing may take

Row = Mapping[str, str]


class Best(NamedTuple):
    mean_ap: float
    images: int
    epoch: int


class Results:
    def __init__(self, run: Path, start: int) -> None:
        """start: images seen. ValueError for a results.csv of another program, which is left unchanged."""
        self.run = run
        self.rows: list[Row] = [row for row in _read(run / NAME) if int(row["images"]) <= start]
        self._drawn, self._drawing = float("-inf"), 0.0

    @property
    def best(self) -> Best | None:
        found = [Best(float(row["mAP"]), int(row["images"]), int(row["epoch"])) for row in self.rows]
        return max(found, key=lambda each: (each.mean_ap, -each.images), default=None)

    def add(self, images: int, epoch: int, evaluation: Evaluation, training: Mapping[str, float]) -> None:
        """Adds a line. training: losses, rate etc. of the last log line."""
        numbers = {"mAP": evaluation.deciding_ap, **dict(evaluation.means()), **training}
        row = {"images": str(images), "epoch": str(epoch), **{name: f"{value:.6g}" for name, value in numbers.items()}}
        self.rows = [each for each in self.rows if int(each["images"]) < images] + [row]
        columns = dict.fromkeys(name for each in self.rows for name in each)
        text = io.StringIO()
        lines = csv.DictWriter(text, list(columns), lineterminator="\n")
        lines.writeheader()
        lines.writerows(self.rows)
        write_whole(self.run / NAME, text.getvalue())

    def draw(self, evaluation: Evaluation, classes: tuple[str, ...], *, last: bool) -> NDArray[np.uint8] | None:
        """Draws the charts, unless drawing them again so soon would take too much of the run's time.

        Returns the chart of each class's AP, [H, W, 3].
        """
        began = time.perf_counter()
        if not last and began - self._drawn < self._drawing / SHARE:
            return None
        from data.view.figures import pixels, write  # matplotlib takes half a second
        from train.reports.charts import class_ap, write_confusion, write_curves, write_f1

        title = f"{self.run.name}, {counted(int(self.rows[-1]['images']), 'image')} seen"
        write_curves(self.run / "curves.png", title, classes, {"validation": evaluation.voc})
        write_f1(self.run / "f1.png", title, classes, evaluation.voc)
        if evaluation.confusion is not None:
            write_confusion(self.run / "confusion_matrix.png", title, classes, evaluation.confusion)
        if evaluation.pictures:
            write_png(self.run / VALIDATION, tiled(list(evaluation.pictures.values())))
        self._draw_results(title)
        of_classes = class_ap(title, classes, evaluation.deciding_ap_C)
        write(of_classes, self.run / "class_ap.png")
        self._drawn = time.perf_counter()
        self._drawing = self._drawn - began
        return pixels(of_classes)

    def _draw_results(self, title: str) -> None:
        """A chart for each group of columns: mAP, losses, what darknet prints ..."""
        from data.view.figures import curves_over, panels, plain, write

        groups = lines_by_chart(self.rows)
        figure, all_axes = panels(plain(title), len(groups))
        for axes, (group, points) in zip(all_axes, groups.items(), strict=True):
            curves_over(axes, group, points, "images seen")
        write(figure, self.run / "results.png")


def lines_by_chart(rows: Iterable[Mapping[str, str]]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """{chart: {line: its points}}. Both losses share a chart; beside one, the shares of `val` would lie on the axis."""
    charts: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for row in rows:
        for name, value in row.items():
            if name in ("images", "epoch") or not value:
                continue
            chart, _, line = name.partition("/")
            chart, line = LOSSES.get(name, (chart, line))
            charts.setdefault(chart, {}).setdefault(line or name, []).append((int(row["images"]), float(value)))
    return charts


def ending(run: Path, best: Best | None, images: int, end: int) -> str:
    """The closing lines of a start: its result, its files, and what to do next."""
    if images < end:
        lines = [f"stopped at {images:,} of {counted(end, 'image')}; the same command resumes from there"]
    else:
        lines = [f"{counted(end, 'image')} seen"]
    if best is None:
        return lines[0]
    there = [name for name in (NAME, *CHARTS, VALIDATION, TRAINING_BATCH) if (run / name).exists()]
    lines += [
        f"best mAP {best.mean_ap:.4f} after epoch {best.epoch}, {counted(best.images, 'image')}: "
        f"{run}/checkpoints/best-*.pt",
        f"files: {run}/ {', '.join([*there, 'board'])}",
        f"next: python -m train.score {shlex.quote(str(run))}",
        f"      python -m train.detect {shlex.quote(str(run))} PICTURES",
        f"      python -m train.export {shlex.quote(str(run))} --to onnx",
        f"      tensorboard --logdir {shlex.quote(str(run))}",
    ]
    return "\n".join(lines)


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    if not path.is_file():  # reading a pipe may never end
        raise ValueError(f"{path}: expected a file; move what is there elsewhere")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
        if missing := {"images", "epoch", "mAP"} - set(reader.fieldnames or ()):
            raise KeyError(*missing)
        for row in rows:
            int(row["images"]), int(row["epoch"]), float(row["mAP"])
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        raise ValueError(f"{path}: expected lines of this program ({error!r}); move it elsewhere") from None
    return [{name: value for name, value in row.items() if value} for row in rows]
