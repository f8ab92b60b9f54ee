"""What TensorBoard reads back: its layout fits the names that are written, curves and pictures are whole."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.backend_context import _sort_and_reduce_to_hparams_limit
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray

from tests.train.run.display.test_board import BATCH, CLASSES, SETTINGS, board, evaluation, run
from train.evaluation.scores.coco import CocoScores
from train.run.display.events import LAYOUT, Events, class_charts


def read(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0, "tensors": 0})
    found.Reload()
    return found


def test_every_chart_of_the_layout_has_its_names_and_every_name_its_chart(tmp_path: Path) -> None:
    """Those of a whole run, COCO's protocol included."""
    precision = np.full((10, 101, 3), 0.25)
    coco = CocoScores(np.full(12, 0.5), precision, precision.mean((0, 1))[None])
    with board(tmp_path) as shown:
        run(shown, [1, 1])
        shown.log_evaluation(evaluation()._replace(coco=coco), 1)
    names = read(tmp_path).Tags()["scalars"]
    layout = {**LAYOUT, "Classes": class_charts(CLASSES)}
    patterns = [pattern for charts in layout.values() for of_chart in charts.values() for pattern in of_chart]
    # as the plugin asks
    shown_by = {pattern: [name for name in names if re.match(pattern, name)] for pattern in patterns}
    assert all(shown_by.values())
    charted = [name for shown in shown_by.values() for name in shown]
    assert sorted(charted) == sorted(set(names) - {name for name in names if name.startswith("coco/")})
    assert [*next(iter(LAYOUT.values()))][:2] == ["loss", "mAP"]
    everything = [*names, *read(tmp_path).Tags()["images"]]
    assert min(everything) == "At a glance/loss"  # TensorBoard opens on the first group
    assert sorted(name for name in everything if name.startswith("At a glance/")) == [
        "At a glance/loss",
        "At a glance/mAP",
        "At a glance/mAP, class by class",
        "At a glance/picture 000005",
        "At a glance/picture 000007",
    ]


def test_the_layout_is_written(tmp_path: Path) -> None:
    Events(tmp_path, 0, SETTINGS, CLASSES).close()
    (event,) = read(tmp_path).Tensors("custom_scalars__config__")
    layout = Layout.FromString(make_ndarray(event.tensor_proto).item())
    assert [category.title for category in layout.category] == [*LAYOUT, "Classes"]
    chart = layout.category[0].chart[1]
    assert chart.title == "mAP" and list(chart.multiline.tag) == ["At a glance/mAP", "mAP/.*"]


def test_a_chart_of_classes_has_few_enough_lines_to_be_told_apart() -> None:
    names = [f"class {number} (a|b)" for number in range(80)]
    charts = class_charts(names)
    assert len(charts) == 8 and next(iter(charts)) == f"AP of {names[0]} to {names[9]}"
    found = [[name for name in names if re.match(pattern, f"class AP/{name}")] for (pattern,) in charts.values()]
    assert [name for group in found for name in group] == names and {len(group) for group in found} == {10}
    assert list(class_charts(CLASSES)) == ["AP of each class"]


def test_curves_are_counts_at_a_hundred_thresholds(tmp_path: Path) -> None:
    events = Events(tmp_path, 0, SETTINGS, CLASSES)
    events.curves(evaluation().voc, 24)
    events.close()
    found = read(tmp_path)
    assert sorted(name for name in found.Tags()["tensors"] if "/" in name and not name.startswith("_")) == [
        "precision over recall/cat",
        "precision over recall/dog",
    ]
    (event,) = found.Tensors("precision over recall/cat")
    right, wrong, _, missed, precision, recall = make_ndarray(event.tensor_proto)
    assert event.step == 24 and len(right) == 101
    assert right.tolist() == [1] * 61 + [0] * 40 and wrong.tolist() == [3] * 21 + [0] * 80
    assert missed.tolist() == [2] * 61 + [3] * 40
    assert precision.tolist() == [0.25] * 21 + [1] * 80
    np.testing.assert_allclose(recall, [1 / 3] * 61 + [0] * 40, rtol=1e-6)


def test_pictures_look_as_they_were_drawn(tmp_path: Path) -> None:
    image = np.zeros((40, 60, 3), np.uint8)
    image[:20] = (200, 30, 30)
    events = Events(tmp_path, 0, SETTINGS, CLASSES)
    events.picture("At a glance/picture 0", image, 8)
    events.close()
    (event,) = read(tmp_path).Images("At a glance/picture 0")
    again = cv2.imdecode(np.frombuffer(event.encoded_image_string, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert (event.width, event.height) == (60, 40)
    assert np.abs(again.astype(int) - image).mean() < 3


@pytest.mark.parametrize("start", [0, 32])
def test_the_settings_are_there_for_the_hparams_page(tmp_path: Path, start: int) -> None:
    Events(tmp_path, start, SETTINGS, CLASSES).close()
    summaries = read(tmp_path).summary_metadata
    started = HParamsPluginData.FromString(summaries["_hparams_/session_start_info"].plugin_data.content)
    assert summaries["_hparams_/session_start_info"].plugin_data.plugin_name == "hparams"
    found = started.session_start_info.hparams
    assert found[" data.batch"].number_value == BATCH and found[" schedule.rate"].number_value == 1e-3
    assert found["run"].string_value == "runs/x"
    assert found["anchors"].string_value == "[1.0, 2.0]" and found["weights"].string_value == "None"
    experiment = HParamsPluginData.FromString(summaries["_hparams_/experiment"].plugin_data.content)
    assert [metric.name.tag for metric in experiment.experiment.metric_infos] == ["At a glance/mAP"]
    _sort_and_reduce_to_hparams_limit(experiment.experiment, 2)  # as the page does, with five
    assert [info.name for info in experiment.experiment.hparam_infos] == [" data.batch", " schedule.rate"]
    assert len(list(tmp_path.iterdir())) == 1  # one event file: no second run beside it
