"""Names of classes are text to the end: from annotations over shards, config, run and board to every result file."""

import csv
import json
from pathlib import Path
from xml.sax.saxutils import escape

import cv2
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data.shards.__main__ import main as shards
from data.shards.index import ShardIndex
from tests.conftest import launch
from tests.data.sources.parsing.test_voc_xml import bndbox
from train.config import Config, load, save
from train.detect import main as detect
from train.reports.result_files import read_voc as read_results
from train.score import main as score

NAMES = ["007", "1e3", "a,b", "cat/dog", "no", "null", "valve [open]", "yes"]
UNQUOTED = '[007, 1e3, "a,b", cat/dog, no, null, "valve [open]", yes]'


@pytest.mark.slow
def test_names_that_yaml_tables_paths_or_a_terminal_take_for_something_else(tmp_path: Path) -> None:
    objects = "".join(f"<object><name>{escape(name)}</name>{bndbox()}</object>" for name in NAMES)
    size = "<size><width>96</width><height>96</height></size>"
    for number in range(4):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((96, 96, 3), 60 * number, np.uint8))
        (tmp_path / f"{number}.xml").write_text(f"<annotation>{size}{objects}</annotation>")
    shards(["voc", str(tmp_path), "--split", "all", str(tmp_path / "set"), "--workers", "1"])
    index = ShardIndex.load(tmp_path / "set")
    assert list(index.classes) == NAMES

    run, config = tmp_path / "run", tmp_path / "small.yaml"
    config.write_text(
        f"""
        run: {run}
        epochs: 1
        anchors: [1, 1, 2, 2]
        data: {{train: {tmp_path}/set, val: {tmp_path}/set, batch: 2, sides: [96], workers: 0, classes: {UNQUOTED}}}
        model: {{variant: tiny-voc, width: 0.0625}}
        evaluate: {{side: 96, score_threshold: 0.0001}}
        """
    )
    printed = launch(str(config)).stdout
    assert all(f"  {name} 0." in printed for name in NAMES)
    assert load(run / "config.yaml", []).data.classes == NAMES
    board = EventAccumulator(str(run / "board"))
    board.Reload()
    assert {f"class AP/{name}" for name in NAMES} <= set(board.Tags()["scalars"])

    score([str(run), "--out", str(tmp_path / "scores"), "--results"])
    assert list(json.loads((tmp_path / "scores/scores.json").read_text())["sides"]["96"]["classes"]) == NAMES
    found = read_results(tmp_path / "scores/results-96", index)
    assert set(found.labels.tolist()) == set(range(len(NAMES)))

    detect([str(run), f"{tmp_path}/0.png", f"--out={tmp_path}/seen", "--threshold=0", "--format=json,csv"])
    (record,) = json.loads((tmp_path / "seen/detections.json").read_text()).values()
    assert {each["class"] for each in record["detections"]} == set(NAMES)
    with (tmp_path / "seen/detections.csv").open(newline="") as table:
        assert {row["class"] for row in csv.DictReader(table)} == set(NAMES)


def _saved(config: Config, path: Path) -> Config:
    save(config, path)
    return load(path, [])


@pytest.mark.parametrize("where", ["file", "command line"])
def test_a_config_takes_text_as_it_is_written(where: str, tmp_path: Path) -> None:
    text = f"run: 007\nstep: {{compile: no}}\ndata: {{train: 1e3, val: on, staging: null, classes: {UNQUOTED}}}\n"
    keys = ["run=007", "step.compile=no", "data.train=1e3", "data.val=on", f"data.classes={UNQUOTED}"]
    path = tmp_path / "some.yaml"
    path.write_text(text if where == "file" else "data: {}")
    config = load(path, [] if where == "file" else keys)
    for found in (config, _saved(config, tmp_path / "again.yaml")):
        assert (found.run, found.step.compile, found.data.classes) == ("007", "no", NAMES)
        assert (found.data.train, found.data.val, found.data.staging) == ("1e3", "on", None)
