"""A file is verified once on a machine, and again when anything about it has changed."""

import os
import tempfile
import threading
import time
from pathlib import Path

import pytest

from data.shards import verified
from data.shards.verified import verified_once


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Old enough to be trusted; notes go to a folder of this test."""
    monkeypatch.setattr(verified, "SETTLED_S", -1.0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "notes"))
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    return path


def times_verified(path: Path, claim: str, times: int = 1) -> int:
    calls: list[None] = []
    for _ in range(times):
        verified_once(path, claim, lambda: calls.append(None))
    return len(calls)


def test_the_second_process_takes_it_as_it_is(file: Path) -> None:
    assert times_verified(file, "one", 3) == 1
    assert times_verified(file, "two", 3) == 1  # another claim about the same file
    assert times_verified(file, "one") == 0


def test_a_claim_that_does_not_hold_is_not_noted(file: Path) -> None:
    def fail() -> None:
        raise ValueError("no")

    for _ in range(2):
        with pytest.raises(ValueError, match="no"):
            verified_once(file, "one", fail)
    assert times_verified(file, "one") == 1


def test_a_file_that_changed_is_verified_again(file: Path) -> None:
    assert times_verified(file, "one") == 1
    status = file.stat()
    time.sleep(0.02)
    file.write_bytes(b"abd")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))  # as if nothing had been written
    assert times_verified(file, "one") == 1
    file.rename(file.with_name("other"))
    file.write_bytes(b"abd")
    assert times_verified(file, "one") == 1


def test_a_file_that_changes_meanwhile_is_not_noted(file: Path) -> None:
    verified_once(file, "one", lambda: os.truncate(file, 1))
    assert times_verified(file, "one") == 1


def test_a_file_of_just_now_is_verified_each_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second write within the same tick of the file system's clock would not be seen."""
    monkeypatch.setattr(verified, "SETTLED_S", 60.0)
    assert times_verified(file, "one", 3) == 3


def test_those_who_ask_meanwhile_wait(file: Path) -> None:
    calls: list[None] = []

    def verify() -> None:
        time.sleep(0.2)
        calls.append(None)

    threads = [threading.Thread(target=verified_once, args=(file, "one", verify)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_notes_that_cannot_be_kept_or_read_change_nothing(file: Path, tmp_path: Path) -> None:
    assert times_verified(file, "one") == 1
    (note,) = (tmp_path / "notes").rglob("*-*/*")
    for text in (b"", b"[", b"3", b"[1, 2, 3]", b"[[], 3]"):
        note.write_bytes(text)
        assert times_verified(file, "one") == 1
    (tmp_path / "notes").rename(tmp_path / "away")
    (tmp_path / "notes").write_bytes(b"no folder")
    assert times_verified(file, "one", 2) == 2
