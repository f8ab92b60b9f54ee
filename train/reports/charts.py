"""Charts of scores: precision over recall, F1 over the score, confusion of classes, reliability of scores."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from data.view.figures import BAR_IN, BLUE, DPI, PALE, PANEL_IN, bars, curves, panels, plain, small_panels, write
from train.evaluation.scores.voc import CURVE_RECALLS, SCORES, VocScores
from train.reports.calibration import EDGES, Calibration

CELL_IN, SMALL_CELL_IN = 0.32, 0.2  # of a confusion matrix
MOST_WITH_NUMBERS = 30  # classes; beyond, cells are small
MOST_WITH_NAMES = 150  # classes; a larger matrix keeps its size and has no names
LARGE_PANELS = 12  # charts; beyond, they are small
MOST_PANELS = 100
MOST_BARS = 200
BEST, WORST = 3, 2  # classes in a chart without room, or colours, for all


def write_curves(path: Path, title: str, classes: Sequence[str], scores: Mapping[str, VocScores]) -> None:
    """Precision over recall at IoU .5: the mean of all classes, then each with objects; a line for each network."""
    voc = next(iter(scores.values()))
    present = np.flatnonzero(voc.num_truths)
    shown, left_out = _best_and_worst(present, voc.ap_area, MOST_PANELS - 1)
    title = f"Precision over recall at IoU .5: {plain(title)}{left_out}"
    figure, (first, *others) = (panels if len(shown) < LARGE_PANELS else small_panels)(title, 1 + len(shown))
    for axes, name, labels in [
        (first, "all classes", present),
        *((axes, plain(classes[label]), np.array([label])) for axes, label in zip(others, shown.tolist(), strict=True)),
    ]:
        lines = {
            f"{key}: AP {_fraction(voc.ap_area[labels].mean())}": voc.envelope_RC[:, labels].mean(1)
            for key, voc in scores.items()
        }
        curves(axes, name, CURVE_RECALLS, lines, x_label="recall", y_label="precision")
    write(figure, path)


def write_f1(path: Path, title: str, classes: Sequence[str], voc: VocScores) -> None:
    """F1 over the score, for all classes and the best and worst ones: helps to choose a threshold."""
    present = np.flatnonzero(voc.num_truths)
    figure, (axes,) = panels("", 1)
    mean_S = voc.f1_SC[:, present].mean(1)
    lines = {f"all classes: best {mean_S.max():.2f} at {SCORES[mean_S.argmax()]:.2f}": mean_S}
    best_first = present[np.argsort(-voc.f1_SC[:, present].max(0), kind="stable")]
    left_out = ""
    if len(best_first) > BEST + WORST:
        left_out = f" (the {BEST} best and {WORST} worst of {len(best_first):,} classes)"
        best_first = np.concatenate([best_first[:BEST], best_first[-WORST:]])
    lines |= {f"{plain(classes[label])}: {voc.f1_SC[:, label].max():.2f}": voc.f1_SC[:, label] for label in best_first}
    figure.suptitle(f"{plain(title)}{left_out}", size=10)
    curves(axes, "F1 over the least score that counts, IoU .5", SCORES, lines, x_label="score", y_label="F1")
    write(figure, path)


def class_ap(title: str, classes: Sequence[str], ap_C: NDArray[np.float64]) -> Figure:
    """A bar for each class with objects, the best on top."""
    shown, left_out = _best_and_worst(np.flatnonzero(~np.isnan(ap_C)), ap_C, MOST_BARS)
    best_first = shown[np.argsort(-ap_C[shown], kind="stable")].tolist()
    figure = Figure((PANEL_IN[0] + 2, BAR_IN * len(best_first) + 1.6), DPI, layout="constrained")
    names = [plain(classes[label]) for label in best_first]
    bars(figure.add_subplot(), f"AP of each class, {plain(title)}{left_out}", names, ap_C[best_first], unit="AP")
    return figure


def write_confusion(path: Path, title: str, classes: Sequence[str], counts: NDArray[np.int64]) -> None:
    """counts: [C + 1, C + 1], the background last. Colours are shares of a class's truths, numbers are counts."""
    names = [*map(plain, classes), "background"]
    cell = CELL_IN if len(names) <= MOST_WITH_NUMBERS else SMALL_CELL_IN
    side = cell * min(len(names), MOST_WITH_NAMES) + 2.5
    figure = Figure((side + 0.8, side), DPI, layout="constrained")
    axes = figure.add_subplot()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, ax=axes, shrink=0.7).set_label("share of the row", size=8)
    if len(names) <= MOST_WITH_NAMES:
        axes.set_xticks(range(len(names)), names, rotation=90, size=8)
        axes.set_yticks(range(len(names)), names, size=8)
    axes.set(xlabel="detected as", ylabel="is", title=plain(title))
    if len(names) <= MOST_WITH_NUMBERS:
        for row, column in np.argwhere(counts):
            ink = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]:,}", ha="center", va="center", size=7, color=ink)
    write(figure, path)


def write_reliability(path: Path, title: str, calibrations: Mapping[str, Calibration]) -> None:
    figure, all_axes = panels(plain(title), len(calibrations))
    for axes, (name, calibration) in zip(all_axes, calibrations.items(), strict=True):
        _reliability(axes, name, calibration)
    write(figure, path)


def _reliability(axes: Axes, name: str, calibration: Calibration) -> None:
    width = EDGES[1] - EDGES[0]
    axes.bar(EDGES[:-1] + width / 2, np.nan_to_num(calibration.precision_B), 0.9 * width, color=BLUE)
    axes.plot([0, 1], [0, 1], color=PALE, linestyle="--")
    for edge, count in zip(EDGES[:-1], calibration.count_B.tolist(), strict=True):
        if count:
            axes.annotate(f"{count:,}", (edge + width / 2, 0.01), ha="center", size=7, color="white")
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="score", ylabel="share that is right")
    axes.set_title(f"{name}: expected calibration error {_fraction(calibration.error)}", size=10)


def _best_and_worst(labels: NDArray[np.int64], ap_C: NDArray[np.float64], most: int) -> tuple[NDArray[np.int64], str]:
    """Up to `most` labels, in order: those with the highest and the lowest AP; and a note on the others."""
    if len(labels) <= most:
        return labels, ""
    best_first = labels[np.argsort(-ap_C[labels], kind="stable")]
    chosen = np.concatenate([best_first[: most - most // 2], best_first[-(most // 2) :]])
    return np.sort(chosen), f" ({len(chosen)} of {len(labels):,} classes, the best and the worst)"


def _fraction(share: float) -> str:
    return "-" if np.isnan(share) else f"{share:.4f}"
