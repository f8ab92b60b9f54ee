"""Bars, curves and heat maps as pictures, for `data.view.statistics` and `train.score`.

With Pillow: a plotting library would weigh more than all the rest. Every chart is a picture of its own, `page` puts
them together.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

WIDTH_PX = 560  # of a chart
MARGIN_PX = 24
ROW_PX = 20
PLOT_PX = 220  # height of columns
INK, PALE, GRID, PAPER = "#222222", "#8a8a8a", "#e4e4e4", "#ffffff"
COLOURS = ("#3b6ea5", "#f0a13a", "#c44e52")  # of the parts of a bar
LINES = ("#3b6ea5", "#f0a13a", "#c44e52", "#4f9d69", "#7b5ea7", "#777777")
SMOOTH = 4  # lines are drawn so many times larger
HEAT = np.array([[255, 255, 255], [253, 205, 130], [228, 92, 58], [74, 14, 66]], np.float64)  # none ... most

FONT = ImageFont.load_default(13)
TITLE = ImageFont.load_default(17)
HEADING = ImageFont.load_default(22)


def bars(title: str, names: Sequence[str], parts: NDArray[np.int64], part_names: Sequence[str] = ()) -> Image.Image:
    """Lying bars, one for each name. parts: [N, P] counts, laid end to end in P colours."""
    height = 2 * MARGIN_PX + ROW_PX * (len(names) + 1 + (len(part_names) > 1))
    chart, pen = _chart(title, height)
    left = MARGIN_PX + 8 + max([_width(name) for name in names], default=0)
    totals = parts.sum(1)
    right = WIDTH_PX - MARGIN_PX - 8 - max([_width(f"{total:,}") for total in totals], default=0)
    scale = (right - left) / max(1, int(totals.max(initial=0)))
    for row, (name, counts) in enumerate(zip(names, parts.tolist(), strict=True)):
        y = MARGIN_PX + ROW_PX * (row + 1) + 6
        pen.text((left - 8, y + 7), name, INK, FONT, "rm")
        x = float(left)
        for count, colour in zip(counts, COLOURS, strict=False):
            if count:
                pen.rectangle((x, y, max(x + 1, x + count * scale - 1), y + ROW_PX - 7), colour)
            x += count * scale
        pen.text((x + 6, y + 7), f"{sum(counts):,}", PALE, FONT, "lm")
    x = float(left)
    for name, colour in zip(part_names if len(part_names) > 1 else (), COLOURS, strict=False):
        y = height - MARGIN_PX - ROW_PX + 8
        pen.rectangle((x, y, x + 12, y + 12), colour)
        pen.text((x + 18, y + 6), name, INK, FONT, "lm")
        x += 40 + _width(name)
    return chart


def columns(title: str, names: Sequence[str], counts: NDArray[np.int64]) -> Image.Image:
    """Standing bars with the share of each above it."""
    bottom = 2 * MARGIN_PX + ROW_PX + PLOT_PX
    chart, pen = _chart(title, bottom + MARGIN_PX + 2 * ROW_PX)
    step = (WIDTH_PX - 2 * MARGIN_PX) / len(names)
    most, total = max(1, int(counts.max())), max(1, int(counts.sum()))
    for number, (name, count) in enumerate(zip(names, counts.tolist(), strict=True)):
        x = MARGIN_PX + number * step
        if count:
            top = bottom - max(1, PLOT_PX * count / most)
            pen.rectangle((x + 1, top, x + step - 2, bottom), COLOURS[0])
            pen.text((x + step / 2, top - 4), _percent(count / total), PALE, FONT, "mb")
        pen.text((x + step / 2, bottom + 6), name, INK, FONT, "mt")
    pen.line((MARGIN_PX, bottom, WIDTH_PX - MARGIN_PX, bottom), PALE)
    return chart


def curves(
    title: str, x: NDArray[np.floating], lines: Mapping[str, NDArray[np.floating]], across: str, down: str
) -> Image.Image:
    """Lines over common x, in a square from 0 to 1 both ways, with their names. across, down: what the axes are."""
    side = WIDTH_PX - 6 * MARGIN_PX
    left, top = 4 * MARGIN_PX, MARGIN_PX + ROW_PX
    chart, pen = _chart(title, top + side + MARGIN_PX + 2 * ROW_PX)
    large = Image.new("RGB", (side * SMOOTH, side * SMOOTH), PAPER)
    plot, last = ImageDraw.Draw(large), side * SMOOTH - 1
    for tenth in range(0, 11, 2):
        at = tenth / 10
        for line in (((at, 0), (at, 1)), ((0, at), (1, at))):
            plot.line([(last * x, last * y) for x, y in line], GRID, SMOOTH)
        pen.text((left + at * side, top + side + 6), f"{at:.1f}", PALE, FONT, "mt")
        pen.text((left - 6, top + side - at * side), f"{at:.1f}", PALE, FONT, "rm")
    for number, y in enumerate(lines.values()):
        points = [(last * a, last * (1 - b)) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
        plot.line(points, LINES[number % len(LINES)], 2 * SMOOTH, "curve")
    chart.paste(large.resize((side, side), Image.Resampling.BOX), (left, top))
    low = np.mean([y.mean() for y in lines.values()]) < 0.5  # their names stand where the lines are not
    x_px = left + side - 40 - max(map(_width, lines), default=0) if low else left + 10
    y_px = top + 16 if low else top + side + 6 - ROW_PX * len(lines)
    for number, name in enumerate(lines):
        pen.rectangle((x_px, y_px - 6, x_px + 12, y_px + 6), LINES[number % len(LINES)])
        pen.text((x_px + 18, y_px), name, INK, FONT, "lm", stroke_width=2, stroke_fill=PAPER)
        y_px += ROW_PX
    _name_axes(chart, left, top, side, across, down)
    return chart


def heat(
    title: str, counts: NDArray[np.int64], across: str, down: str, outlines: Sequence[tuple[float, float]] = ()
) -> Image.Image:
    """[rows, columns] counts as a square map, rows downwards; the darker the more, in logarithms.

    across, down: what the axes are. outlines: rectangles from the upper left corner, w h as fractions of the map.
    """
    side = WIDTH_PX - 4 * MARGIN_PX
    left, top = 3 * MARGIN_PX, MARGIN_PX + ROW_PX
    chart, pen = _chart(title, top + side + MARGIN_PX + 2 * ROW_PX)
    depth = np.log1p(counts) / max(np.log1p(counts).max(initial=0), 1e-9) * (len(HEAT) - 1)
    colours = np.stack([np.interp(depth, np.arange(len(HEAT)), channel) for channel in HEAT.T], axis=-1)
    tiles = Image.fromarray(colours.astype(np.uint8)).resize((side, side), Image.Resampling.NEAREST)
    chart.paste(tiles, (left, top))
    pen.rectangle((left - 1, top - 1, left + side, top + side), outline=PALE)
    for width, height in outlines:
        pen.rectangle((left, top, left + width * side, top + height * side), outline=COLOURS[0], width=2)
    _name_axes(chart, left, top, side, across, down)
    return chart


def page(heading: str, charts: Sequence[Image.Image], num_columns: int = 3) -> Image.Image:
    """Each chart under the column that is shortest so far."""
    places, ends = list[tuple[int, int]](), [MARGIN_PX * 3] * num_columns
    for chart in charts:
        column = ends.index(min(ends))
        places.append((column * WIDTH_PX, ends[column]))
        ends[column] += chart.height
    paper = Image.new("RGB", (num_columns * WIDTH_PX, max(ends) + MARGIN_PX), PAPER)
    ImageDraw.Draw(paper).text((MARGIN_PX, MARGIN_PX), heading, INK, HEADING)
    for chart, place in zip(charts, places, strict=True):
        paper.paste(chart, place)
    return paper


def _chart(title: str, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    chart = Image.new("RGB", (WIDTH_PX, height), PAPER)
    pen = ImageDraw.Draw(chart)
    pen.text((MARGIN_PX, 4), title, INK, TITLE)
    return chart, pen


def _name_axes(chart: Image.Image, left: int, top: int, side: int, across: str, down: str) -> None:
    pen = ImageDraw.Draw(chart)
    pen.text((left + side / 2, chart.height - MARGIN_PX - ROW_PX), across, INK, FONT, "mt")
    sideways = Image.new("RGB", (side, ROW_PX), PAPER)
    ImageDraw.Draw(sideways).text((side / 2, ROW_PX / 2), down, INK, FONT, "mm")
    chart.paste(sideways.rotate(90, expand=True), (MARGIN_PX, top))


def _width(text: str) -> int:
    return int(FONT.getlength(text)) + 1


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}" if share >= 0.001 else "<.1%"
