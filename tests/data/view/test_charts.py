"""Charts: what is longer, higher or darker is more, and in proportion."""

import numpy as np
import pytest
from PIL import Image, ImageColor

from data.view.charts import COLOURS, LINES, WIDTH_PX, bars, columns, curves, heat, page

BLUE, ORANGE, RED = (ImageColor.getrgb(colour) for colour in COLOURS)


def painted(chart: Image.Image, colour: tuple[int, ...]) -> np.ndarray:
    """[H, W] where exactly this colour is."""
    return np.asarray((np.asarray(chart) == colour).all(-1))


def runs(present: np.ndarray) -> list[tuple[int, int]]:
    """Start and end of each stretch of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], present.astype(int), [0]])))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


def test_bars_are_as_long_as_their_counts() -> None:
    blue = painted(bars("title", ["many", "few", "none"], np.array([[400], [100], [0]])), BLUE)
    lengths = [blue[start:end].any(0).sum() for start, end in runs(blue.any(1))]
    assert len(lengths) == 2 and lengths[0] == pytest.approx(4 * lengths[1], abs=4)
    assert lengths[0] > WIDTH_PX / 2


def test_parts_of_a_bar_follow_each_other_and_are_explained() -> None:
    chart = bars("title", ["cat"], np.array([[200, 100, 100]]), ["trained on", "difficult", "crowd"])
    rows = [runs(painted(chart, colour).any(1)) for colour in (BLUE, ORANGE, RED)]
    assert rows[0] == rows[1] == rows[2] and len(rows[0]) == 2  # the bar, and below it the squares of the legend
    (start, end), _ = rows[0]
    spans = [np.flatnonzero(painted(chart, colour)[start:end].any(0)) for colour in (BLUE, ORANGE, RED)]
    assert spans[0].max() < spans[1].min() and spans[1].max() < spans[2].min()
    assert len(spans[0]) == pytest.approx(2 * len(spans[1]), abs=4)


def test_every_name_and_count_is_inside_the_chart() -> None:
    """Whatever their length: nothing is painted on the outermost pixels."""
    names = ["a very long name of a class", "b"]
    for chart in (
        bars("title", names, np.array([[10**9], [1]])),
        columns("title", [str(number) for number in range(9)], np.arange(9) * 10**6),
        heat("title", np.eye(5, dtype=np.int64), "across", "down"),
        curves("title", np.linspace(0, 1, 5), {name: np.full(5, 0.9) for name in names}, "across", "down"),
        curves("title", np.linspace(0, 1, 5), {name: np.full(5, 0.1) for name in names}, "across", "down"),
    ):
        pixels = np.asarray(chart)
        assert chart.width == WIDTH_PX
        for edge in (pixels[:, :4], pixels[:, -4:], pixels[-4:]):
            assert (edge == 255).all()


def test_columns_are_as_high_as_their_counts() -> None:
    blue = painted(columns("title", ["a", "b", "c", "d"], np.array([100, 50, 0, 25])), BLUE)
    heights = [blue[:, start:end].any(1).sum() for start, end in runs(blue.any(0))]
    assert len(heights) == 3
    np.testing.assert_allclose(heights, [heights[0], heights[0] / 2, heights[0] / 4], atol=2)


def test_the_darkest_tile_is_where_most_is() -> None:
    counts = np.zeros((4, 4), np.int64)
    counts[1, 3], counts[2, 0] = 1000, 3
    grey = np.asarray(heat("title", counts, "across", "down").convert("L"))
    darkest, lightest = grey < 40, np.asarray(grey > 250)
    frame = np.flatnonzero((grey[:, 100:400] == 0x8A).all(1))  # its upper and lower line
    top, side = frame[0] + 1, frame[-1] - frame[0] - 1
    assert lightest[top : top + side, 72 : 72 + side].mean() > 0.8  # 14 of 16 tiles are empty
    tile = np.argwhere(darkest[top : top + side, 72 : 72 + side]).mean(0) / side * 4
    np.testing.assert_allclose(tile, [1.5, 3.5], atol=0.05)


def test_outlines_are_fractions_of_the_map() -> None:
    blue = painted(heat("title", np.zeros((4, 4), np.int64), "across", "down", [(0.5, 0.25)]), BLUE)
    rows, columns_ = np.flatnonzero(blue.any(1)), np.flatnonzero(blue.any(0))
    assert len(columns_) == pytest.approx(2 * len(rows), abs=2)
    assert len(rows) == pytest.approx((WIDTH_PX - 96) / 4, abs=2)


def test_curves_go_where_their_numbers_are() -> None:
    """A falling line and a level one: from corner to corner, and in the middle between them."""
    x = np.linspace(0, 1, 101)
    first, second = (ImageColor.getrgb(colour) for colour in LINES[:2])
    chart = curves("title", x, {"falls": 1 - x, "level": np.full(101, 0.75)}, "across", "down")
    (down, falling), (rows, level) = (np.nonzero(painted(chart, colour)[:, 130:]) for colour in (first, second))
    assert falling.min() < 10 and falling.max() > WIDTH_PX - 130 - 60  # the names are further to the left
    assert np.corrcoef(falling, down)[0, 1] > 0.99
    assert np.ptp(rows) < 4 and np.ptp(level) == pytest.approx(np.ptp(falling), abs=6)
    left = np.polyval(np.polyfit(falling, down, 1), 96 - 130)  # where the falling one is 1
    bottom = down.max()
    assert (bottom - rows.mean()) / (bottom - left) == pytest.approx(0.75, abs=0.02)


def test_a_page_holds_all_charts_side_by_side() -> None:
    charts = [Image.new("RGB", (WIDTH_PX, height), (0, 0, 200 + number)) for number, height in enumerate([300, 50, 60])]
    paper = page("heading", [*charts, charts[0]], num_columns=2)
    pixels = np.asarray(paper)
    for chart, times in zip(charts, (2, 1, 1), strict=True):
        colour = chart.getpixel((0, 0))
        assert (pixels == colour).all(-1).sum() == times * chart.width * chart.height
    assert paper.width == 2 * WIDTH_PX
    assert (pixels[:70] != 255).any()  # the heading
