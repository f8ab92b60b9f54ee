"""The charts of a set: that they are there, and what the command writes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.shards.__main__ import main
from data.shards.index import ShardIndex
from data.view.statistics import measure
from data.view.statistics_charts import picture
from data.view.statistics_text import table
from tests.data.pictures import black_images

ANCHORS = np.array([[1.0, 1.0], [4.0, 4.0]])  # cells


def test_the_picture_has_a_chart_more_with_anchors(four_images: ShardIndex) -> None:
    with_anchors, without = (np.asarray(picture(measure(four_images, 320, "letterbox", a))) for a in (ANCHORS, None))
    ink = [int((pixels != 255).any(-1).sum()) for pixels in (with_anchors, without)]
    assert ink[0] > ink[1] + 10_000


def test_the_command_prints_and_draws(
    four_images: ShardIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(
        [
            "stats",
            str(four_images.folder),
            "--side",
            "320",
            "--anchors",
            "1,1,4,4",
            "--png",
            str(tmp_path / "stats.png"),
        ]
    )
    assert capsys.readouterr().out.rstrip("\n") == table(measure(four_images, 320, "letterbox", ANCHORS))
    with Image.open(tmp_path / "stats.png") as drawn:
        np.testing.assert_array_equal(drawn, picture(measure(four_images, 320, "letterbox", ANCHORS)))


def test_a_set_without_trained_objects_has_a_picture(tmp_path: Path) -> None:
    stats = measure(black_images(tmp_path, [(64, 64, [((0, 0, 64, 64), 0, "difficult")])]), 64, "letterbox", ANCHORS)
    assert picture(stats).width > 1000
