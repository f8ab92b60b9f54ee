"""Shards on their way: in the order of need, by one process of the machine, and nobody waits for what will not come."""

import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from data.files import sha256
from data.remote.arrivals import FAILURE, wait_for
from data.remote.lock import LOCK, FolderLock
from data.remote.remote_set import open_remote
from data.remote.staging import Staging, Wanted, _print_progress
from data.shards.index import ShardIndex
from tests.conftest import small_disk
from tests.servers import Liar

pytestmark = pytest.mark.usefixtures("no_time_to_waste")


def all_of(index: ShardIndex, address: str) -> Staging:
    return Staging([Wanted(address, index, range(len(index.shards)))])


def wait_for_all(index: ShardIndex) -> None:
    for shard in index.shards:
        wait_for(index.folder / shard.name)
        assert sha256(index.folder / shard.name) == shard.sha256


def tars(server: Liar) -> list[str]:
    return [name for name, _ in server.requests if name.endswith(".tar")]


def holder_of(folder: Path) -> "subprocess.Popen[str]":
    """Another process that has the turn until it is killed."""
    code = f"import fcntl; f = open({str(folder / LOCK)!r}, 'a'); fcntl.flock(f, 2); print('mine', flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None and process.stdout.readline() == "mine\n"
    return process


# ------------------------------------------------------------------------------------------------- several processes


def test_what_another_process_brings_is_waited_for_and_taken_over_when_it_dies(liar: Liar, tmp_path: Path) -> None:
    index = open_remote(liar.address, str(tmp_path))
    with holder_of(index.folder) as other, all_of(index, liar.address):
        time.sleep(0.5)
        assert not tars(liar)
        other.kill()
        other.wait()
        wait_for_all(index)
    assert sorted(tars(liar)) == [shard.name for shard in index.shards]


def test_how_far_it_is_is_told(
    liar: Liar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("data.remote.staging.PROGRESS_S", 0.0)
    index = open_remote(liar.address, str(tmp_path))
    with all_of(index, liar.address):
        wait_for_all(index)
        time.sleep(0.5)
    told = capsys.readouterr().err
    assert "\nstaging: 0.00 of 0.00 GB, " in told
    _print_progress(2_000_000_000, 500_000_000, 10.0)
    _print_progress(2_000_000_000, 2_000_000_000, 10.0)
    assert capsys.readouterr().err.splitlines() == [
        "staging: 1.50 of 2.00 GB, 3 s left",
        "staging: 0.00 of 2.00 GB, nothing yet",
    ]


def test_the_failure_of_another_process_is_everybodys(liar: Liar, tmp_path: Path) -> None:
    index = open_remote(liar.address, str(tmp_path))
    (index.folder / FAILURE).write_text("of an earlier run")
    with holder_of(index.folder) as other, all_of(index, liar.address):
        (index.folder / FAILURE).write_text("shard 7 is lost")
        other.kill()
        other.wait()
        with pytest.raises(ValueError, match=r"^shard 7 is lost$"):
            wait_for_all(index)
    assert not tars(liar)


# ------------------------------------------------------------------------------------------------------------- disks


def test_a_full_disk_is_an_error_before_anything_is_brought(
    liar: Liar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = open_remote(liar.address, str(tmp_path))
    total = sum(shard.bytes for shard in index.shards)
    half = index.shards[0].bytes // 2
    (index.folder / f"{index.shards[0].name}.part").write_bytes(liar.files[index.shards[0].name][:half])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=total - half - 1))
    with pytest.raises(ValueError, match=r"expected room for the 0\.00 GB still to come, found .*; free some space"):
        all_of(index, liar.address).__enter__()
    assert not tars(liar) and not FolderLock(index.folder).is_held()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=total - half))
    with all_of(index, liar.address):
        wait_for_all(index)


def test_a_disk_that_fills_up_meanwhile(liar: Liar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with small_disk(tmp_path, "256k") as small:
        index = open_remote(liar.address, str(small))
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**12))
        message = r"\.tar could not be written \(.*No space left on device.*\); free some space or fix the permissions"
        with all_of(index, liar.address), pytest.raises(ValueError, match=message):
            wait_for_all(index)
        lock = FolderLock(index.folder)
        assert lock.acquire()  # free again
        lock.release()


def test_a_shard_that_was_cut_since_is_brought_again(liar: Liar, tmp_path: Path) -> None:
    index = open_remote(liar.address, str(tmp_path))
    with all_of(index, liar.address):
        wait_for_all(index)
    spoilt = index.folder / index.shards[1].name
    spoilt.write_bytes(spoilt.read_bytes()[:1000])
    liar.requests.clear()
    with all_of(index, liar.address):
        wait_for_all(index)
    assert tars(liar) == [spoilt.name]
