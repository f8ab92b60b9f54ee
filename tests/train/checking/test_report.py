"""The report of a check."""

import shutil
from pathlib import Path

import pytest

from train.checking.report import Report
from train.starting.room import Need


def test_an_error_ends_only_its_part(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    for name, error in (("one", ValueError("first")), ("two", OSError("second"))):
        with report.part(name):
            raise error
    assert report.problems == ["first", "second"]
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["one", "two"]
    with pytest.raises(RuntimeError), report.part("three"):
        raise RuntimeError("ours")


def test_room_is_asked_for_where_the_folder_would_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = Report()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10_000_000, 0, 5_000_000))
    report.need(Need(tmp_path / "not/yet", 5_000_000, "of shards"))
    with pytest.raises(ValueError, match=r"expected room for 6\.0 MB of shards, found 5\.0 MB"):
        report.need(Need(tmp_path / "not/yet", 6_000_000, "of shards"))
