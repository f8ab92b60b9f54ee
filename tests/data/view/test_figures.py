"""Charts: what is longer or darker is more, in proportion; names are readable; nothing is kept outside the figure."""

import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from data.view.figures import _say_boxes, bars, curves, curves_over, heat, histogram, panels, pixels, write
from tests.conftest import ROOT


def test_bars_are_as_long_as_their_counts_and_follow_each_other() -> None:
    figure, (axes,) = panels("heading", 1)
    bars(axes, "title", ["cat", "dog"], np.array([[200, 100], [0, 7]]), ["trained on", "difficult"], unit="objects")
    spans = [(bar.get_x(), bar.get_width()) for bar in axes.patches]  # type: ignore[attr-defined]
    assert spans == [(0, 200), (0, 0), (200, 100), (0, 7)]
    assert [text.get_text() for text in axes.texts] == ["300", "7"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["cat", "dog"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]  # the first name is at the top
    assert axes.get_xlabel() == "objects" and axes.get_title() == "title"
    legend = axes.get_legend()
    assert legend and [text.get_text() for text in legend.get_texts()] == ["trained on", "difficult"]
    pixels(figure)


@pytest.mark.parametrize(("edges", "scale"), [(np.arange(5.0), "linear"), (2.0 ** np.arange(5), "log")])
def test_a_histogram_counts_between_its_edges(edges: np.ndarray, scale: str) -> None:
    _, (axes,) = panels("heading", 1)
    values = np.array([edges[0], edges[1], edges[1], edges[-1]])
    histogram(axes, "title", values, edges, "px", "objects")
    assert [bar.get_height() for bar in axes.patches] == [1, 2, 0, 1]  # type: ignore[attr-defined]
    assert axes.get_xscale() == scale and (axes.get_xlabel(), axes.get_ylabel()) == ("px", "objects")


def test_the_darkest_tile_is_where_most_points_are() -> None:
    _, (axes,) = panels("heading", 1)
    points = np.array([[400, 10]] * 50 + [[10, 200]] * 3)
    heat(axes, "title", points, 416, "width, px", "height, px")
    (image,) = axes.images
    counts = np.ma.asarray(image.get_array())
    assert counts.count() == 2 and counts[1, 50] == 50 and counts[25, 1] == 3
    red, green, blue, _ = image.to_rgba(counts).transpose(2, 0, 1)  # type: ignore[no-untyped-call]
    luminance = red + green + blue
    assert luminance[1, 50] < luminance[25, 1]
    assert image.get_extent() == [0, 416, 0, 416]


def test_no_points_are_no_error() -> None:
    figure, axes = panels("heading", 3)
    heat(axes[0], "title", np.empty((0, 2)), 416, "x", "y")
    histogram(axes[1], "title", np.empty(0), np.arange(4), "x", "y")
    bars(axes[2], "title", ["cat"], np.array([0]))
    assert pixels(figure).ndim == 3


def test_curves_have_their_numbers_and_names() -> None:
    _, (axes,) = panels("heading", 1)
    x = np.linspace(0, 1, 101)
    lines = {f"line {number}": np.full(101, number / 10) for number in range(8)}  # more than there are colours
    curves(axes, "title", x, lines, "recall", "precision")
    assert [line.get_label() for line in axes.lines] == list(lines)
    for line, expected in zip(axes.lines, lines.values(), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), expected)


def test_panels_stand_side_by_side_and_none_is_left_empty() -> None:
    figure, axes = panels("heading", 5, across=3)
    places = [(round(box.x0, 2), round(box.y0, 2)) for box in (each.get_position() for each in axes)]
    assert len(set(places)) == 5 and len(figure.axes) == 5
    assert [y for _, y in places[:3]] == [places[0][1]] * 3 and places[3][1] < places[0][1]


def names_overlap(figure: Figure) -> bool:
    pixels(figure)
    boxes = [text.get_window_extent() for text in figure.axes[0].get_yticklabels()]
    return any(above.y0 < below.y1 for above, below in pairwise(boxes))


def test_names_overlap_is_noticed() -> None:
    figure, (axes,) = panels("heading", 1)
    bars(axes, "title", [f"class {number}" for number in range(80)], np.arange(80))
    assert names_overlap(figure)


def test_a_figure_is_written_and_its_pixels_are_the_same(tmp_path: Path) -> None:
    figure, (axes,) = panels("heading", 1)
    bars(axes, "title", ["cat"], np.array([3]))
    write(figure, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        np.testing.assert_array_equal(np.asarray(image.convert("RGB")), pixels(figure))
    with pytest.raises(ValueError, match=r"figure\.yaml: expected the name of a \.png, \.svg or \.pdf file"):
        write(figure, tmp_path / "figure.yaml")


def test_letters_missing_from_the_font_are_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _say_boxes.cache_clear()
    for name in ("细胞", "血小板"):
        figure, _ = panels(name, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pixels(figure)
            write(figure, tmp_path / "figure.png")
    (line,) = capsys.readouterr().err.splitlines()
    assert "the font lacks some letters" in line


def test_no_display_and_no_state_outside_the_figure_is_needed() -> None:
    program = (
        "import sys, data.view.figures as f; f.pixels(f.panels('x', 1)[0]);"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    environment = {"PYTHONPATH": str(ROOT), "MPLBACKEND": "TkAgg"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_lines_may_have_points_of_their_own() -> None:
    figure, (axes,) = panels("heading", 1)
    curves_over(axes, "mAP", {"a": [(0, 0.5), (100, 0.75)], "b": [(50, 0.25)]}, "images seen")
    assert [line.get_xdata().tolist() for line in axes.lines] == [[0, 100], [50]]  # type: ignore[union-attr]
    assert axes.get_xlabel() == "images seen" and axes.get_title() == "mAP"
    pixels(figure)


def test_ctrl_c_leaves_the_earlier_chart(tmp_path: Path) -> None:
    class Interrupted(Figure):
        def savefig(self, fname: BinaryIO, **_: object) -> None:  # type: ignore[override]
            fname.write(b"half")
            raise KeyboardInterrupt

    (tmp_path / "chart.png").write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        write(Interrupted(), tmp_path / "chart.png")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("chart.png", b"before")]
