"""The configs of a run's starts; tests/train/starting/test_changes.py has them in whole runs."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from launch.processes.environment import Environment
from tests.conftest import ROOT
from train.config import load, save
from train.starting.changes import accept_changes
from train.starting.saved_configs import earlier_starts, load_start, save_start


def test_a_run_that_kept_only_its_newest_config_keeps_it_as_the_first(tmp_path: Path) -> None:
    config = replace(load(ROOT / "configs/demo.yaml", []), run=str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/000000064-0123456789abcdef.pt").touch()
    save(config, tmp_path / "config.yaml")
    longer = replace(config, epochs=99)
    lines = accept_changes(longer, Environment())
    assert len(lines) == 1 and lines[0].startswith("epochs 10 -> 99: accepted: ")
    save_start(longer, 64, lines, {})
    starts = [load(path, []).epochs for path in sorted((tmp_path / "starts").iterdir())]
    assert starts == [10, 99] and load(tmp_path / "config.yaml", []).epochs == 99


def test_starts_are_ordered_by_number(tmp_path: Path) -> None:
    """Not by name: the 10,000th start has one digit more."""
    config = replace(load(ROOT / "configs/demo.yaml", []), run=str(tmp_path))
    save_start(config, 0, [], {})
    assert earlier_starts(tmp_path) == []  # nothing has been trained
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/000000064-0123456789abcdef.pt").touch()
    (tmp_path / "starts/9999-000000064.yaml").write_text("damaged")
    (tmp_path / "starts/notes.yaml").touch()
    save_start(config, 64, [], {})
    names = ["0001-000000000.yaml", "9999-000000064.yaml", "10000-000000064.yaml"]
    assert [path.name for path in earlier_starts(tmp_path)] == names
    first, damaged, last = earlier_starts(tmp_path)
    assert load_start(first) == load_start(last) == config
    with pytest.raises(ValueError, match="9999-000000064"):
        load_start(damaged)


def test_a_bad_block_under_an_earlier_config_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(load(ROOT / "configs/demo.yaml", []), run=str(tmp_path))
    save_start(config, 0, [], {})
    (start,) = (tmp_path / "starts").iterdir()

    def failing(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")  # as of read(2): without a name

    monkeypatch.setattr(Path, "read_text", failing)
    with pytest.raises(ValueError, match=f"{start} cannot be read .Input/output error"):
        load_start(start)
    monkeypatch.setattr(Path, "read_bytes", failing)
    save_start(config, 0, [], {})
    assert len(list((tmp_path / "starts").iterdir())) == 2


def test_a_config_that_the_user_wrote_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, path = replace(load(ROOT / "configs/demo.yaml", []), run=str(tmp_path)), tmp_path / "config.yaml"
    path.write_text("epochs: 3  # enough\n")
    save_start(config, 0, ["epochs 3 -> 10"], {})
    assert (tmp_path / "config-1.yaml").read_text() == "epochs: 3  # enough\n"
    assert f"kept as {tmp_path}/config-1.yaml" in capsys.readouterr().err
    for epochs in (10, 20, 20):  # what a start has written is not kept
        save_start(replace(config, epochs=epochs), 0, [], {})
    assert load(path, []).epochs == 20 and not (tmp_path / "config-2.yaml").exists()
    assert not capsys.readouterr().err
    path.write_text("run: x  # edited\n")
    os.mkfifo(tmp_path / "starts/0005-000000000.yaml")  # is not read
    save_start(config, 0, [], {})
    assert (tmp_path / "config-2.yaml").read_text() == "run: x  # edited\n"
