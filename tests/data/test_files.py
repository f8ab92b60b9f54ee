import hashlib
import os
import re
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from data.files import length, locked_folder, natural_key, part_name, replacing, sha256, sync_folder, write_whole
from tests.conftest import ROOT


def test_the_digest_is_that_of_the_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 1_000_000)
    assert sha256(path) == hashlib.sha256(b"a" * 1_000_000).hexdigest()


def test_natural_order_is_that_of_the_numbers_in_names() -> None:
    assert sorted(["frame10", "frame9", "a2b10", "a2b9"], key=natural_key) == ["a2b9", "a2b10", "frame9", "frame10"]


def test_a_length_is_that_of_a_file_and_of_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "empty").touch()
    assert [length(tmp_path / name) for name in ("file", "empty", "missing", ".")] == [3, 0, None, None]


@pytest.mark.parametrize("content", [b"\x00\xff", "größe 图\n", ""])
def test_what_was_written_whole_is_read_back(tmp_path: Path, content: bytes | str) -> None:
    path = tmp_path / "file.json"
    path.write_text("before")
    write_whole(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError("full"), KeyboardInterrupt()])
def test_an_error_leaves_the_file_as_it_was(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file"
    path.write_text("before")

    def write_half() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, "before")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=re.escape(f"No space left on device: '{path}'")):
        write_whole(path, "after")
    with pytest.raises(OSError, match=re.escape(f"No space left on device: '{tmp_path}'")):
        sync_folder(tmp_path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_kill_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    script = f"""
        import os, signal
        from pathlib import Path
        from data.files import replacing
        with replacing(Path({str(path)!r})) as file:
            file.write(b"half" * 100_000)
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], cwd=ROOT, check=False)
    assert path.read_text() == "before"
    assert [each.suffix for each in tmp_path.iterdir() if each != path] == [".part"]


def test_a_part_has_the_name_of_its_process(tmp_path: Path) -> None:
    part = part_name(tmp_path / "000001.tar")
    assert part.parent == tmp_path
    assert str(os.getpid()) in part.name and part.suffix == ".part"


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync_folder(tmp_path / "missing")


def test_a_folder_has_one_user_at_a_time(tmp_path: Path) -> None:
    entered = []

    def wait() -> None:
        with locked_folder(tmp_path, "writes", wait=True):
            entered.append(time.monotonic())

    with locked_folder(tmp_path, "writes"):
        with (
            pytest.raises(
                ValueError, match=f"{tmp_path}: another process writes there; wait for it, or choose another"
            ),
            locked_folder(tmp_path, "writes"),
        ):
            pytest.fail("two users")
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.3)
        assert not entered
    waiting.join()
    assert entered and not list(tmp_path.iterdir())
