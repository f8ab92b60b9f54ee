"""What is looked at on the machine before a run is started."""

import os
import resource
import shutil
from pathlib import Path

import pytest

from data.shards.index import ShardIndex
from train.checking.machine import FILES, require_open_files, require_writable, say_room_for_decoded
from train.checking.report import Report


def test_a_folder_that_can_be_made_is_enough(tmp_path: Path) -> None:
    require_writable(tmp_path / "not/yet", "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("mode", "folder"), [(0o555, "shut"), (0o555, "shut/run"), (0o666, "shut/run")])
def test_a_folder_in_which_nothing_can_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, folder: str
) -> None:
    (tmp_path / "shut").mkdir(mode=mode)
    wanted = os.W_OK | os.X_OK
    allowed = (os.W_OK if mode & 0o200 else 0) | (os.X_OK if mode & 0o100 else 0)
    monkeypatch.setattr(os, "access", lambda path, _: wanted & ~allowed == 0)  # root may do anything
    with pytest.raises(ValueError, match=rf"{folder}: expected a folder that this user can write to.* in .*/shut;"):
        require_writable(tmp_path / folder, "run")


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"expected a folder, found the file .*/file; choose another `data.staging`"):
        require_writable(tmp_path / "file/run", "data.staging")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(ValueError, match=r"expected a folder, found .*/link, a link to nothing; choose another `run`"):
        require_writable(tmp_path / "link/run", "run")
    with pytest.raises(
        ValueError, match=r"/proc/x: expected a folder on a disk, found none for files in /proc; choose"
    ):
        require_writable(Path("/proc/x"), "run")


def test_folders_of_decoded_images_and_of_staging_are_looked_at(tmp_path: Path, index: ShardIndex) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"file: expected a folder, found the file .* another `data.decoded_cache`"):
        say_room_for_decoded(tmp_path / "file", index, Report())


@pytest.mark.parametrize(("limit", "workers"), [(FILES, 0), (1024, 8), (resource.RLIM_INFINITY, 1000)])
def test_as_many_files_as_are_needed(monkeypatch: pytest.MonkeyPatch, limit: int, workers: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    require_open_files(workers)


def test_a_limit_of_open_files_that_is_too_low(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 256))
    with pytest.raises(ValueError, match=r"data\.workers=16, found a limit of 256; raise it with ulimit -n"):
        require_open_files(16)


def test_the_room_for_decoded_images_is_told(
    tmp_path: Path, index: ShardIndex, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    size = sum(width * height * 3 for width, height in map(index.size_px, range(index.num_samples)))
    for free in (size, size - 1):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: shutil._ntuple_diskusage(size, 0, free))
        say_room_for_decoded(tmp_path / "not/yet", index, Report())
    enough, little = capsys.readouterr().out.splitlines()
    assert f"{size / 1e6:,.1f} MB of decoded images" in enough and "decoded each time" not in enough
    assert little.endswith("images that do not fit are decoded each time")


def test_decoded_images_of_another_user_are_refused(
    tmp_path: Path, index: ShardIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(ValueError, match="expected a folder of this user"):
        say_room_for_decoded(tmp_path, index, Report())
