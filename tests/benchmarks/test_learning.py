"""`benchmarks.learning` on a small drawn set: the fixed rule, the runs it starts and the numbers it prints."""

import json
import re
import shutil
from pathlib import Path

import pytest

from benchmarks.learning import PROTOCOLS, Outcome, Protocol, main, split_lists, table

TINY = ["epochs=1", "data.sides=[64]", "evaluate.side=64", "data.workers=0", "data.batch=16", "step.precision=fp32"]


def test_every_tenth_of_trainval_chooses_and_the_rest_trains(tmp_path: Path) -> None:
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    ids = [f"{number:06}" for number in range(25)]
    (tmp_path / "ImageSets" / "Main" / "trainval.txt").write_text("\n".join(ids))
    lists = split_lists(tmp_path, tmp_path / "lists")
    assert Path(lists["val"]).read_text().split() == ["000000", "000010", "000020"]
    assert sorted(Path(lists["train"]).read_text().split() + Path(lists["val"]).read_text().split()) == ids
    assert lists["test"] == "test"
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("000001")
    assert split_lists(tmp_path, tmp_path / "lists")["val"] == "val", "a set's own split counts"


def test_a_run_that_took_too_long_says_so() -> None:
    scores = {"mAP@.5": 0.5, "classes": {"a": {"AP@.5": 0.25}}}
    protocol = Protocol("demo", "demo.yaml", 30, "mAP@.5", columns=("a",))
    slow, quick = (Outcome(0, 100, minutes, [(50, 0.75), (100, 0.5)], scores, 1.0) for minutes in (30.1, 29.9))
    assert "| 0 | 100 | 30.1 (over the limit) | 75.0 | 50.0 | 100.0 | 25.0 |" in table(protocol, [slow])
    assert "over" not in table(protocol, [quick])


@pytest.mark.slow
def test_a_protocol_from_a_folder_to_its_table(
    drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(drawn / "VOC2007", tmp_path / "VOC2007")
    lists = root / "ImageSets" / "Main"
    (lists / "test.txt").write_text((lists / "val.txt").read_text())
    monkeypatch.setitem(PROTOCOLS, "bccd", Protocol("bccd", "configs/demo.yaml", 30, "mAP@.5"))
    again = ["bccd", str(root), "--seeds", "3", "--processes", "1", "--out", str(tmp_path), *TINY]
    main(again)
    printed = capsys.readouterr().out
    (scores,) = json.loads((tmp_path / "seed3" / "scores-test" / "scores.json").read_text())["sides"].values()
    assert f"mean {100 * scores['mAP@.5']:.1f} % over 1 seeds" in printed
    assert re.search(r"tiny-voc, width 0.25: 0\.0\d GFLOP at 64 px", printed)
    weights = (tmp_path / "seed3" / "results.csv").stat().st_mtime_ns
    main(again)
    assert capsys.readouterr().out == printed, "what is finished is not trained again"
    assert (tmp_path / "seed3" / "results.csv").stat().st_mtime_ns == weights
