"""Charts are written, whatever the names of classes and however many there are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from data.view.figures import pixels
from train.evaluation.scores.voc import VocScores
from train.reports.calibration import Calibration
from train.reports.charts import class_ap, write_confusion, write_curves, write_f1, write_reliability


def voc(num_classes: int, missing: int = 0) -> VocScores:
    """The first `missing` classes have no truths."""
    counts = np.full(num_classes, 10)
    counts[:missing] = 0
    right = np.linspace(10, 0, 101).astype(int)[:, None].repeat(num_classes, 1)
    ap = np.where(counts > 0, 0.5, np.nan)
    return VocScores(ap, ap, counts, np.full((101, num_classes), 0.5), right, right // 2)


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        assert np.asarray(image.convert("L")).std() > 5
        return image.size


NAMES = ("cat", "$5 & $6", "图", "a_b^c", "x" * 40, "\\frac")


@pytest.mark.parametrize("missing", [0, 3])
def test_names_of_all_kinds_are_drawn(tmp_path: Path, missing: int) -> None:
    scores = voc(len(NAMES), missing)
    counts = np.arange(49).reshape(7, 7)
    write_curves(tmp_path / "pr.png", "$set$", NAMES, {"416 px": scores, "96 px": scores})
    write_f1(tmp_path / "f1.png", "$set$", NAMES, scores)
    write_confusion(tmp_path / "c.png", "$set$", NAMES, counts)
    for name in ("pr", "f1", "c"):
        assert min(size(tmp_path / f"{name}.png")) > 200


@pytest.mark.parametrize(("missing", "note"), [(0, "the 3 best and 2 worst of 7 classes"), (3, "")])
def test_a_chart_without_all_classes_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: int, note: str
) -> None:
    figures: list[Figure] = []
    monkeypatch.setattr("train.reports.charts.write", lambda figure, _: figures.append(figure))
    write_f1(tmp_path / "f1.png", "set", [f"class {number}" for number in range(7)], voc(7, missing))
    assert figures[0].get_suptitle() == (f"set ({note})" if note else "set")


def test_bars_of_classes_are_sorted_and_have_room() -> None:
    few, many = np.array([0.25, np.nan, 0.75]), np.arange(80) / 100
    figure = class_ap("$set$", ("a", "b", "$c$"), few)
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [r"\$c\$", "a"]
    tall = class_ap("set", [str(number) for number in range(80)], many)
    assert tall.get_figheight() > 80 * 0.15 and pixels(tall).shape[0] > 80 * 15
    assert pixels(class_ap("set", ("a",), np.array([np.nan]))).std() > 0  # of no class at all


def test_a_chart_of_more_classes_is_larger_and_eighty_fit(tmp_path: Path) -> None:
    names = [f"class {number}" for number in range(80)]
    write_confusion(tmp_path / "many.png", "set", names, np.eye(81, dtype=np.int64))
    write_confusion(tmp_path / "few.png", "set", names[:3], np.eye(4, dtype=np.int64))
    many, few = size(tmp_path / "many.png"), size(tmp_path / "few.png")
    assert many[1] > 80 * 20 and few[1] < 600  # a line of text for each


def test_reliability_is_drawn_with_and_without_detections(tmp_path: Path) -> None:
    nothing = np.full(10, np.nan)
    some = Calibration(np.arange(10), np.linspace(0, 1, 10), np.linspace(0, 0.9, 10))
    none = Calibration(np.zeros(10, np.int64), nothing, nothing)
    write_reliability(tmp_path / "r.png", "set", {"416 px": some, "96 px": none})
    assert size(tmp_path / "r.png")[0] > 600


@pytest.mark.slow
def test_thousands_of_classes_make_charts_that_can_be_drawn_and_looked_at(tmp_path: Path) -> None:
    count = 1200
    names, scores = [f"class {number}" for number in range(count)], voc(count)
    scores = replace(scores, ap_area=np.arange(count) / count)
    write_curves(tmp_path / "pr.png", "set", names, {"validation": scores})
    write_confusion(tmp_path / "c.png", "set", names, np.eye(count + 1, dtype=np.int64))
    assert max(*size(tmp_path / "pr.png"), *size(tmp_path / "c.png")) < 6000
    axes = class_ap("set", names, scores.ap_area).axes[0]
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert len(shown) == 200 and shown[0] == "class 1199" and shown[-1] == "class 0" and "1,200" in axes.get_title()
