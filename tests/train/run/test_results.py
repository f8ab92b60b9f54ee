"""results.csv over starts and kills, and the charts beside it."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.train.run.display.test_board import CLASSES, evaluation
from train.run.results import CHARTS, VALIDATION, Best, Results, ending, lines_by_chart

TRAINING = {"loss/total": 3.5, "train/rate": 1e-3}


def read(run: Path) -> list[dict[str, str]]:
    with (run / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def add(results: Results, images: int, first: float = 0.5) -> None:
    results.add(images, images // 8, evaluation(first), TRAINING)


def test_a_line_is_an_evaluation(tmp_path: Path) -> None:
    results = Results(tmp_path, 0)
    add(results, 8, 0.5)
    add(results, 16, 0.9)
    first, second = read(tmp_path)
    assert (first["images"], first["epoch"], float(first["mAP"])) == ("8", "1", 0.75)
    assert float(second["mAP/voc_area"]) == 0.95 and float(second["mAP/voc_11point"]) == 0.625
    assert float(second["loss/total"]) == 3.5 and float(second["train/rate"]) == 1e-3
    assert results.best == Best(0.95, 16, 2)


def test_a_resumed_run_has_each_evaluation_once(tmp_path: Path) -> None:
    results = Results(tmp_path, 0)
    for images in (8, 16, 24):
        add(results, images, 0.9)
    results = Results(tmp_path, 16)  # the last checkpoint
    assert [row["images"] for row in results.rows] == ["8", "16"]
    add(results, 16)  # was saved before its evaluation
    add(results, 20)
    assert [row["images"] for row in read(tmp_path)] == ["8", "16", "20"]
    assert results.best == Best(0.95, 8, 1)
    add(Results(tmp_path, 0), 8)  # started over
    assert [row["images"] for row in read(tmp_path)] == ["8"]


def test_a_metric_that_comes_later_has_a_column(tmp_path: Path) -> None:
    add(Results(tmp_path, 0), 8)
    Results(tmp_path, 8).add(16, 2, evaluation(), {**TRAINING, "density": 0.25})
    first, second = read(tmp_path)
    assert first["density"] == "" and second["density"] == "0.25"
    add(Results(tmp_path, 16), 24)
    assert [row["density"] for row in read(tmp_path)] == ["", "0.25", ""]


@pytest.mark.parametrize("content", ["name,age\nBo,7\n", "images,epoch,mAP\n8,1,high\n", "\0\0"])
def test_a_table_of_another_program_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    (tmp_path / "results.csv").write_text(content)
    with pytest.raises(ValueError, match=r"results\.csv: expected lines of this program"):
        Results(tmp_path, 0)
    assert (tmp_path / "results.csv").read_text() == content


def test_charts_are_drawn_first_and_last_and_not_too_often(tmp_path: Path) -> None:
    results = Results(tmp_path, 0)
    shown = evaluation()._replace(confusion=np.eye(4, dtype=np.int64))
    for images, last, drawn in ((8, False, True), (16, False, False), (24, True, True)):
        add(results, images)
        for name in (*CHARTS, VALIDATION):
            (tmp_path / name).unlink(missing_ok=True)
        results.draw(shown, CLASSES, last=last)
        assert [name for name in (*CHARTS, VALIDATION) if (tmp_path / name).exists()] == [*CHARTS, VALIDATION] * drawn
    for name in CHARTS:
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 200
    with Image.open(tmp_path / VALIDATION) as image:  # two pictures of 32 px, a gap between them
        assert (
            image.size == (68, 32) and image.getpixel((0, 0)) == (125,) * 3 and image.getpixel((67, 31)) == (175,) * 3
        )


def test_both_losses_share_a_chart() -> None:
    rows = [
        {"images": "8", "epoch": "1", "mAP": "0.5", "val/loss": "90", "val/Obj": "0.2", "loss/total": "", "x/y": "1"}
    ]
    rows += [{"images": "16", "mAP": "0.6", "loss/total": "40"}]
    assert lines_by_chart(rows) == {
        "mAP": {"mAP": [(8, 0.5), (16, 0.6)]},
        "loss": {"val": [(8, 90)], "train": [(16, 40)]},
        "val": {"Obj": [(8, 0.2)]},
        "x": {"y": [(8, 1)]},
    }


def test_last_words_name_what_is_there(tmp_path: Path) -> None:
    assert ending(tmp_path, None, 8, 16) == "stopped at 8 of 16 images; the same command resumes from there"
    add(Results(tmp_path, 0), 8)
    text = ending(tmp_path, Best(0.75, 8, 1), 16, 16)
    assert "16 images seen\nbest mAP 0.7500 after epoch 1, 8 images: " in text
    assert f"files: {tmp_path}/ results.csv, board\n" in text and "results.png" not in text
    assert f"python -m train.score {tmp_path}\n" in text
    assert len(text.splitlines()) <= 10


def test_a_pipe_in_place_of_the_results_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "results.csv")
    with pytest.raises(ValueError, match=r"results\.csv: expected a file; move what is there elsewhere"):
        Results(tmp_path, 0)
