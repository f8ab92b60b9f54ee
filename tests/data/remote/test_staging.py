"""Shards on their way: in the order of need, by one process of the machine, and nobody waits for what will not come."""

import errno
import fcntl
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

import data.remote.fetch
import data.remote.staging
from data.files import sha256
from data.remote.remote_set import open_remote
from data.remote.staging import FAILURE, LOCK, Arrivals, Staging, Turn, Wanted, wait_for
from data.shards.index import ShardIndex
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
    other = holder_of(index.folder)
    with all_of(index, liar.address):
        time.sleep(0.5)
        assert not tars(liar)
        other.kill()
        other.wait()
        wait_for_all(index)
    assert sorted(tars(liar)) == [shard.name for shard in index.shards]


def test_the_failure_of_another_process_is_everybodys(liar: Liar, tmp_path: Path) -> None:
    index = open_remote(liar.address, str(tmp_path))
    (index.folder / FAILURE).write_text("of an earlier run")
    other = holder_of(index.folder)
    with all_of(index, liar.address):
        (index.folder / FAILURE).write_text("shard 7 is lost")
        other.kill()
        other.wait()
        with pytest.raises(ValueError, match=r"^shard 7 is lost$"):
            wait_for_all(index)
    assert not tars(liar)


def test_nobody_brings_it(liar: Liar, tmp_path: Path) -> None:
    index = open_remote(liar.address, str(tmp_path))
    with pytest.raises(ValueError, match=r"expected .*\.tar, found no process that brings it for 0.3 s; start the run"):
        Arrivals(index).wait_for(0)


def test_nothing_comes_any_more(liar: Liar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.remote.staging, "PATIENCE_S", 0.3)
    index = open_remote(liar.address, str(tmp_path))
    other = holder_of(index.folder)
    try:
        with pytest.raises(ValueError, match=r"expected .*\.tar, found no byte coming for 0.3 s; start the run again"):
            Arrivals(index).wait_for(0)
    finally:
        other.kill()
        other.wait()


def test_a_local_shard_that_vanished_leaves_no_trace_of_waiting(index: ShardIndex, tmp_path: Path) -> None:
    folder = shutil.copytree(index.folder, tmp_path / "local")
    local = ShardIndex.load(folder)
    (folder / local.shards[0].name).unlink()
    with pytest.raises(ValueError, match="found no process that brings it"):
        Arrivals(local).wait_for(0)
    assert not (folder / LOCK).exists()


def test_a_turn_is_one_processs_at_a_time(tmp_path: Path) -> None:
    one, other = Turn(tmp_path), Turn(tmp_path)
    assert not other.taken() and one.take() and other.taken() and not other.take()
    one.give_back()
    assert not other.taken() and other.take()


def test_a_disk_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(ValueError, match=r"staging\.lock cannot be locked \(.*No locks available\); choose a disk of"):
        Turn(tmp_path).take()


# ------------------------------------------------------------------------------------------------------------- disks


def test_a_full_disk_is_an_error_before_anything_is_brought(
    liar: Liar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = open_remote(liar.address, str(tmp_path))
    total = sum(shard.bytes for shard in index.shards)
    half = index.shards[0].bytes // 2
    (index.folder / f"{index.shards[0].name}.part").write_bytes(liar.files[index.shards[0].name][:half])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=total - half - 1))
    with pytest.raises(ValueError, match=r"expected room for the 0\.00 GB that are still to come, found .*; make room"):
        all_of(index, liar.address).__enter__()
    assert not tars(liar) and not Turn(index.folder).taken()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=total - half))
    with all_of(index, liar.address):
        wait_for_all(index)


def test_a_disk_that_fills_up_meanwhile(liar: Liar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(small)], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no right to mount a small disk: {mounted.stderr.decode().strip()}")
    try:
        index = open_remote(liar.address, str(small))
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10**12))
        message = r"\.tar could not be written \(.*No space left on device.*\); make room or correct the rights"
        with all_of(index, liar.address), pytest.raises(ValueError, match=message):
            wait_for_all(index)
        assert Turn(index.folder).take()  # free again
    finally:
        subprocess.run(["umount", "-l", str(small)], check=True)


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
