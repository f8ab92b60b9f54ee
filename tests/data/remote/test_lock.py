"""A lock on a folder is held by one process at a time, and only on disks that know locks."""

import errno
import fcntl
from pathlib import Path

import pytest

from data.remote.lock import FolderLock


def test_a_lock_is_one_processs_at_a_time(tmp_path: Path) -> None:
    one, other = FolderLock(tmp_path), FolderLock(tmp_path)
    assert not other.is_held() and one.acquire() and other.is_held() and not other.acquire()
    one.release()
    assert not other.is_held() and other.acquire()
    other.release()


def test_a_disk_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(ValueError, match=r"staging\.lock cannot be locked \(.*No locks available\); choose a disk of"):
        FolderLock(tmp_path).acquire()
