"""What can hardly be meant is counted; what can is not."""

import numpy as np
import pytest

from data.records import Findings
from data.sources.rules.suspicious import inspect_boxes, inspect_names


def boxes_found(*given: tuple[float, float, float, float], width: int = 100, height: int = 80) -> list[str]:
    """In images of one size."""
    findings, edges = Findings(), np.array(given, np.float64).reshape(-1, 4)
    clipped = edges.clip(0, [width, height] * 2)
    side = min(width, height)
    inspect_boxes(findings, len(edges), edges.__getitem__, clipped.__getitem__, lambda row: f"box {row}", side)
    return findings.lines()


@pytest.mark.parametrize("box", [(0, 0, 100, 80), (1, 1, 104, 50), (-0.5, -0.5, 3, 3), (10, 10, 10.5, 10.5)])
def test_boxes_that_can_be_meant(box: tuple[float, float, float, float]) -> None:
    assert boxes_found(box, (10, 10, 20, 20)) == [] and boxes_found() == []


def test_boxes_that_can_hardly_be_meant() -> None:
    (line,) = boxes_found((50, 10, 150, 20), (10, 10, 20, 20), (-1e308, 0, 1e308, 9))
    assert line.startswith("boxes of 3 that lose more than a tenth at the border of their image, 75% on average")
    assert line.endswith(": 2 (box 0, box 2)")
    (line,) = boxes_found(*[(0.1, 0.1, 0.5, 0.5)] * 5)
    assert line.endswith("(fractions of the image, not px?): 5 (box 0, box 1, box 2, ...)")
    assert boxes_found((0.1, 0.1, 0.5, 0.5), (0.1, 0.1, 0.5, 1.5)) == []


def test_boxes_in_another_unit() -> None:
    percent = [(10, 20, 60, 90), (5, 5, 100, 50), (70, 70, 99, 99)]
    (line,) = boxes_found(*percent, width=640, height=480)
    assert line.startswith("boxes within 0..100 px of images of at least 480 px, all boxes of the set (percent")
    assert line.endswith(": 3 (box 0, box 1, box 2)")
    assert (
        boxes_found(*percent, height=100) == [] and boxes_found(*percent[:1], width=640, height=480) == []
    )  # it may lie there
    assert boxes_found(*percent, (300, 10, 400, 90), width=640, height=480) == []
    (line,) = boxes_found(*[(100, 200, 600, 900)] * 5, width=4000, height=3000)
    assert line.startswith("boxes within 0..900 px of images of at least 3,000 px")


def test_chosen_names_that_the_source_writes_in_another_way() -> None:
    """As of --classes 'cat, dog'."""
    findings = Findings()
    inspect_names(findings, ["cat", " dog"], ["cat", "dog", "cow", "Cow"])
    missing, alike = findings.lines()
    assert missing == "classes of which the source has no object (misspelt?): 1 (' dog')"
    assert alike.endswith("Unicode form: 1 (' dog' / 'dog')")


def test_names() -> None:
    findings = Findings()
    classes = ["Cat", "dog", "cat ", "hot dog", "hot_dog", "fi", "ﬁ", "no", "007"]
    inspect_names(findings, classes, classes)
    (line,) = findings.lines()
    assert line.endswith("Unicode form: 3 ('Cat' / 'cat ', 'hot dog' / 'hot_dog', 'fi' / 'ﬁ')")
