"""Tables, JSON and curves of made-up scores."""

import json

import numpy as np
import pytest

from data.shards.index import ShardIndex
from train.evaluation.evaluator import Evaluation
from train.evaluation.scores.coco import coco_ap
from train.evaluation.scores.confusion import confusion_matrix
from train.evaluation.scores.tables import Detections, rows, truths_of
from train.evaluation.scores.voc import voc_ap
from train.reports.calibration import calibrate
from train.reports.errors import KINDS, find_errors
from train.reports.report import Scored, as_json, tables


@pytest.fixture
def found(index: ShardIndex) -> dict[str, Scored]:
    """Half of the truths found at one side, a quarter at another; class 0 never, and class 2 has no truths."""
    truths = truths_of(index)
    truths = rows(truths, truths.labels != 2)
    scored = {}
    for size, every in (("416", 2), ("96", 4)):
        chosen = (np.arange(len(truths.labels)) % every == 0) & (truths.labels != 0)
        scores = np.linspace(0.9, 0.5, chosen.sum())
        detections = Detections(truths.images[chosen], truths.labels[chosen], scores, truths.boxes_xyxy_px[chosen])
        args = detections, truths, len(index.classes)
        evaluation = Evaluation(voc_ap(*args), coco_ap(*args), detections, {}, confusion_matrix(*args))
        scored[size] = Scored(evaluation, find_errors(*args), calibrate(*args))
    return scored


def cells(text: str, name: str) -> list[str]:
    return next(line for line in text.splitlines() if line.startswith(f"{name} "))[len(name) :].split()


def test_there_is_a_table_of_means_and_one_for_each_size(index: ShardIndex, found: dict[str, Scored]) -> None:
    means, at_416, at_96, errors = tables(index, found).split("\n\n")
    for size, scored in found.items():
        values = cells(means, f"{size} px")
        assert float(values[0]) == pytest.approx(scored.evaluation.voc.map_area, abs=6e-5)
        assert float(values[2]) == pytest.approx(scored.evaluation.coco.ap, abs=6e-5)
    for table, scored in ((at_416, found["416"]), (at_96, found["96"])):
        for label, name in enumerate(index.classes):
            values = cells(table, name)
            assert values[0] == str(scored.evaluation.voc.num_truths[label])
            if label == 2:
                assert set(values[1:]) == {"-"}
            else:
                assert float(values[1]) == pytest.approx(scored.evaluation.voc.ap_area[label], abs=6e-5)
                assert float(values[5]) == pytest.approx(scored.evaluation.coco.ap_AC[0, label], abs=6e-5)
    assert [line.split()[0] for line in errors.splitlines()[1:]] == list(KINDS)
    missed = [int(scored.errors.counts_KC[-1].sum()) for scored in found.values()]
    assert cells(errors, "missed")[1::2] == [f"({count:,})" for count in missed]
    assert len({len(line) for line in at_416.splitlines()}) == 1  # columns end together


def test_the_threshold_of_the_best_f1_keeps_all_that_is_right(index: ShardIndex, found: dict[str, Scored]) -> None:
    voc = found["416"].evaluation.voc
    for label in (1, 3):
        share = voc.right_SC[0, label] / voc.num_truths[label]
        told = as_json(index, found)["416"]["classes"][index.classes[label]]
        assert told["best F1"] == pytest.approx(2 * share / (1 + share))  # nothing is wrong: precision 1
        assert told["at score"] <= 0.9
        kept = found["416"].evaluation.found.scores[found["416"].evaluation.found.labels == label]
        assert told["at score"] <= kept.max()


def test_json_has_null_for_what_is_not_known(index: ShardIndex, found: dict[str, Scored]) -> None:
    numbers = json.loads(json.dumps(as_json(index, found), allow_nan=False))
    assert list(numbers) == ["416", "96"]
    circle, nothing = (numbers["416"]["classes"][index.classes[label]] for label in (0, 2))
    assert circle["AP@.5"] == 0.0 and circle["errors"]["missed"] == circle["objects"] > 0
    assert nothing["objects"] == 0 and nothing["AP@.5"] is None and nothing["AP@[.5:.95] small"] is None
    assert numbers["96"]["mAP@.5"] == found["96"].evaluation.voc.map_area
    confusion = np.array(numbers["96"]["confusion (rows: is, columns: detected as, last: background)"])
    assert confusion.shape == (7, 7) and confusion[0, 6] == circle["objects"] and confusion[:, 0].sum() == 0
    assert 0 < numbers["96"]["expected calibration error"] < 0.5
    assert numbers["96"]["errors cost"]["missed"] == found["96"].errors.cost_K[-1]


class WithDensity(Evaluation):
    """An evaluation with one more metric, as a user would add it."""

    def means(self):
        yield from super().means()
        yield "density", 0.125

    def of_classes(self):
        yield from super().of_classes()
        yield "AP@.9", np.full(len(self.voc.num_truths), 0.25)


def test_a_new_metric_is_shown_without_an_edit(index: ShardIndex, found: dict[str, Scored]) -> None:
    found = {side: each._replace(evaluation=WithDensity(*each.evaluation)) for side, each in found.items()}
    means, at_416, *_ = tables(index, found).split("\n\n")
    assert means.splitlines()[0].split()[-2:] == ["density", "ECE"] and cells(means, "96 px")[-2] == "0.1250"
    assert at_416.splitlines()[0].split()[-1] == "AP@.9" and cells(at_416, index.classes[1])[-1] == "0.2500"
    numbers = as_json(index, found)["416"]
    assert numbers["means"]["density"] == 0.125 and numbers["classes"][index.classes[1]]["AP@.9"] == 0.25
