"""The charts of a set: what they count, and what the command writes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from data.records import Annotations, Record
from data.shards.__main__ import main
from data.shards.index import ShardIndex
from data.shards.writing.write import write_shards
from data.view.figures import pixels
from data.view.statistics.charts import draw
from data.view.statistics.measure import Stats, measure
from data.view.statistics.text import table
from tests.data.pictures import black_images, jpeg
from tests.data.view.test_figures import names_overlap

ANCHORS = np.array([[1.0, 1.0], [4.0, 4.0]])  # cells


def charts(stats: Stats) -> dict[str, Axes]:
    return {axes.get_title().partition(",")[0]: axes for axes in draw(stats).axes if axes.get_title()}


def heights(axes: Axes) -> list[float]:
    return [bar.get_height() for bar in axes.patches if bar.get_height()]  # type: ignore[attr-defined]


def test_the_charts_count_what_is_there(four_images: ShardIndex) -> None:
    found = charts(measure(four_images, 320, "letterbox", ANCHORS))
    classes = found["objects of 3 classes"]
    assert [text.get_text() for text in classes.get_yticklabels()] == ["cat", "dog", "owl"]
    assert [text.get_text() for text in classes.texts] == ["4", "2", "0"]  # the most frequent first
    assert sum(heights(found["box size"])) == sum(heights(found["box shape"])) == 4
    assert heights(found["objects of an image"]) == [1, 2, 1]  # with none, one and two
    assert np.ma.asarray(found["box centres"].images[0].get_array()).sum() == 4
    assert [bar.get_width() for bar in found["objects nearest to each anchor (cells)"].patches] == [2, 2]  # type: ignore[attr-defined]
    for name, axes in found.items():
        assert axes.get_xlabel(), name


def test_without_anchors_their_charts_are_left_out(four_images: ShardIndex) -> None:
    found = charts(measure(four_images, 320, "letterbox", None))
    assert not any("anchor" in name for name in found) and "objects by size (COCO)" in found


def test_eighty_classes_stay_readable(tmp_path: Path) -> None:
    (tmp_path / "image.jpg").write_bytes(jpeg())
    boxes, labels, no = np.tile([1.0, 2.0, 9.0, 9.0], (80, 1)), np.arange(80, dtype=np.int16), np.zeros(80, np.bool_)
    record = Record("a", "a", tmp_path / "image.jpg", 40, 30, boxes, boxes[:, 2], labels, no, no)
    names = tuple(f"class {number}" for number in range(80))
    index = write_shards(Annotations("many classes", names, tuple(range(80)), [record], {}), tmp_path / "shards")
    assert not names_overlap(draw(measure(index, 416, "letterbox", None)))


def test_the_command_prints_and_draws(
    four_images: ShardIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    png = tmp_path / "stats.png"
    main(["stats", str(four_images.folder), "--side", "320", "--anchors", "1,1,4,4", "--png", str(png)])
    stats = measure(four_images, 320, "letterbox", ANCHORS)
    assert capsys.readouterr().out.rstrip("\n") == table(stats)
    with Image.open(png) as drawn:
        np.testing.assert_array_equal(np.asarray(drawn.convert("RGB")), pixels(draw(stats)))


def test_a_set_without_trained_objects_has_charts(tmp_path: Path) -> None:
    index = black_images(tmp_path, [(64, 64, [((0, 0, 64, 64), 0, "difficult")])])
    assert pixels(draw(measure(index, 64, "letterbox", ANCHORS))).shape[1] > 1000


def test_a_dollar_in_a_name_begins_no_formula(four_images: ShardIndex) -> None:
    index = replace(four_images, classes=(r"$\none$", "a$b$c", "5 $"), source="voc $x$.txt")
    figure = draw(measure(index, 320, "letterbox", ANCHORS))
    pixels(figure)
    assert r"\$x\$" in figure.get_suptitle()
