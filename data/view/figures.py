"""Figures in the style of this project. Matplotlib without pyplot: no display, no state outside the figure."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from numpy.typing import NDArray

from data.files import replacing
from data.view.attempts import notice

BLUE, ORANGE, RED = "#3b6ea5", "#f0a13a", "#c44e52"
COLOURS = (BLUE, ORANGE, RED, "#4f9d69", "#7b5ea7", "#777777")
PALE = "#8a8a8a"
PANEL_IN = (5.0, 3.7)  # width, height
SMALL_IN = (2.6, 2.1)
BAR_IN = 0.19  # height of a bar with its name
DPI = 110
TILES = 52  # of a heat map, each way


def panels(title: str, count: int, across: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure with room for `count` charts, row by row."""
    across = min(across, count)
    down = -(-count // across)
    figure = Figure((PANEL_IN[0] * across, PANEL_IN[1] * down + 0.5), DPI, layout="constrained")
    figure.suptitle(title)
    return figure, [figure.add_subplot(down, across, place + 1) for place in range(count)]


def small_panels(title: str, count: int, across: int = 8) -> tuple[Figure, list[Axes]]:
    """Charts of 0..1 in both directions, a hundred in a few seconds: fixed margins, few ticks."""
    down = -(-count // across)
    width, height = SMALL_IN[0] * across + 0.5, SMALL_IN[1] * down + 0.8
    figure = Figure((width, height), DPI)
    figure.suptitle(title, y=1 - 0.1 / height)
    figure.subplots_adjust(0.5 / width, 0.5 / height, 1 - 0.1 / width, 1 - 0.8 / height, 0.25, 0.5)
    all_axes = [figure.add_subplot(down, across, place + 1) for place in range(count)]
    for axes in all_axes:
        axes.set_xticks([0, 0.5, 1])
        axes.set_yticks([0, 0.5, 1])
    return figure, all_axes


@contextmanager
def _missing_letters_said_once() -> Iterator[None]:
    """Letters missing from the font become boxes, without a warning for each letter in each chart."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    others = [each for each in caught if not str(each.message).startswith("Glyph ")]
    for each in others:
        warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)
    if len(others) < len(caught):
        _say_boxes()


@cache
def _say_boxes() -> None:
    notice(
        "charts: the font lacks some letters and shows boxes; name another in a matplotlibrc file, such as "
        "font.family: DejaVu Sans, Noto Sans CJK SC"
    )


def write(figure: Figure, path: Path) -> None:
    """Writes PNG, or what the suffix says. ValueError for an unknown suffix."""
    if path.suffix[1:].lower() not in {*figure.canvas.get_supported_filetypes(), ""}:
        raise ValueError(f"{path}: expected the name of a .png, .svg or .pdf file; rename it")
    path = path if path.suffix else path.with_suffix(".png")
    with _missing_letters_said_once(), replacing(path) as file:
        figure.savefig(file, format=path.suffix[1:].lower())


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """[H, W, 3] RGB."""
    canvas = FigureCanvasAgg(figure)
    with _missing_letters_said_once():
        canvas.draw()  # type: ignore[no-untyped-call]
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]


def plain(text: str) -> str:
    """Escapes dollars, which would begin a formula."""
    return text.replace("$", r"\$")


def bars(
    axes: Axes, title: str, names: Sequence[str], parts: NDArray[Any], part_names: Sequence[str] = (), unit: str = ""
) -> None:
    """Horizontal bars, in the order of the names from the top. parts: [N] or [N, P], stacked in P colours."""
    parts = parts.reshape(len(names), -1 if names else 1)
    ends = parts.cumsum(1)
    for place, colour in zip(range(parts.shape[1]), COLOURS, strict=False):
        label = part_names[place] if place < len(part_names) else None
        axes.barh(range(len(names)), parts[:, place], 0.75, ends[:, place] - parts[:, place], color=colour, label=label)
    for row, total in enumerate(parts.sum(1).tolist()):
        axes.annotate(_number(total), (total, row), (3, 0), textcoords="offset points", va="center", color=PALE, size=7)
    axes.set_yticks(range(len(names)), names, size=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.margins(x=0.12)
    _finish(axes, title, unit)
    axes.grid(axis="x", alpha=0.3)
    if len(part_names) > 1:
        axes.legend(fontsize=8, loc="lower right")


def histogram(axes: Axes, title: str, values: NDArray[Any], edges: NDArray[Any], x_label: str, y_label: str) -> None:
    """Counts between edges; on a logarithmic axis if the edges grow by a factor."""
    axes.hist(values, bins=edges.tolist(), color=BLUE, edgecolor="white", linewidth=0.5)
    steps = np.diff(edges)
    if steps.max() > 2 * steps.min():
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    _finish(axes, title, x_label, y_label)
    axes.grid(axis="y", alpha=0.3)


def heat(axes: Axes, title: str, points: NDArray[Any], side: float, x_label: str, y_label: str) -> None:
    """Counts of points [N, 2] x, y in each tile of a square 0..side; darker means more, on a logarithmic scale."""
    edges = np.linspace(0, side, TILES + 1)
    counts = np.histogram2d(points[:, 1], points[:, 0], (edges, edges))[0]
    norm = LogNorm(1, max(2, counts.max()))
    extent = 0, side, 0, side
    image = axes.imshow(np.ma.masked_less(counts, 1), cmap="magma_r", norm=norm, origin="lower", extent=extent)
    axes.figure.colorbar(image, ax=axes, shrink=0.85).set_label(f"objects in a tile of {side / TILES:.0f} px", size=8)
    _finish(axes, title, x_label, y_label)


def curves(
    axes: Axes, title: str, x: NDArray[Any], lines: Mapping[str, NDArray[Any]], x_label: str, y_label: str
) -> None:
    """Named lines over common x, 0..1 in both directions."""
    for (name, y), colour in zip(lines.items(), COLOURS * (1 + len(lines) // len(COLOURS)), strict=False):
        axes.plot(x, y, color=colour, label=name)
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(fontsize=8)
    _finish(axes, title, x_label, y_label)
    axes.grid(alpha=0.3)


def curves_over(axes: Axes, title: str, lines: Mapping[str, Sequence[tuple[float, float]]], x_label: str) -> None:
    """Named lines, each through its own points x, y; a single point gets a mark."""
    for (name, points), colour in zip(lines.items(), COLOURS * (1 + len(lines) // len(COLOURS)), strict=False):
        axes.plot(*zip(*points, strict=True), color=colour, label=name, marker="." if len(points) < 30 else None)
    axes.legend(fontsize=7)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.locator_params(axis="x", nbins=5)
    _finish(axes, title, x_label)
    axes.grid(alpha=0.3)


def _finish(axes: Axes, title: str, x_label: str, y_label: str = "") -> None:
    axes.set_title(title, size=10)
    axes.set_xlabel(x_label, size=8)
    axes.set_ylabel(y_label, size=8)
    axes.tick_params(labelsize=8)


def _number(value: float) -> str:
    return f"{value:,}" if float(value).is_integer() else f"{value:.3f}"
