from pathlib import Path

import pytest
import torch

from train.run.checkpoint_files import HashingFile, best, defect, intact, listed, newest, prepare, read, write


def test_a_written_file_bears_its_digest_and_nothing_else_is_left(tmp_path: Path) -> None:
    write(tmp_path / "new", {"network": {}, "weight": torch.ones(3)}, 64, best=True, keep=2)
    names = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert len(names) == 2 and names[1] == f"best-{names[0]}"
    (path,) = (each.path for each in listed(tmp_path / "new") if not each.best)
    assert defect(path) is None and read(path)["weight"].tolist() == [1, 1, 1]


def test_the_list_goes_by_numbers_and_has_the_best_after_its_equal(tmp_path: Path) -> None:
    names = ["000000100", "best-000000200", "000000200", "1000000000", "000000300"]
    for name in names:
        (tmp_path / f"{name}-{'0' * 16}.pt").touch()
    for name in ("last.pt", "000000400copy-0000000000000000.pt", "000000500-xyz.pt", "000000600-0000000000000000.part"):
        (tmp_path / name).touch()
    assert [each.path.name[:-20] for each in listed(tmp_path)] == [names[3], names[4], names[2], names[1], names[0]]


def test_an_error_while_writing_removes_the_part_and_leaves_the_others(tmp_path: Path) -> None:
    write(tmp_path, {"network": {}}, 64, best=True, keep=2)
    before = set(tmp_path.iterdir())
    with pytest.raises(AttributeError, match="local object"):
        write(tmp_path, {"network": lambda: None}, 128, best=True, keep=2)
    assert set(tmp_path.iterdir()) == before


def test_without_hard_links_the_best_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError("Operation not permitted")

    monkeypatch.setattr("os.link", none)
    write(tmp_path, {"network": {}}, 64, best=True, keep=2)
    one, other = sorted(tmp_path.iterdir())
    assert one.read_bytes() == other.read_bytes() and one.stat().st_ino != other.stat().st_ino
    assert best(tmp_path) == other and newest(tmp_path) == one


def test_a_folder_that_is_not_there_holds_none(tmp_path: Path) -> None:
    assert list(intact(tmp_path / "absent")) == listed(tmp_path / "absent") == []


def test_a_folder_that_cannot_be_used_is_said_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.part").touch()
    prepare(tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "checkpoints").touch()
    with pytest.raises(FileExistsError):
        prepare(tmp_path / "checkpoints")

    def none(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system", "checkpoints/probe")

    monkeypatch.setattr(Path, "touch", none)
    with pytest.raises(OSError, match="Read-only"):
        prepare(tmp_path)


def test_the_digest_is_of_what_was_to_be_written(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        hashing = HashingFile(file)
        hashing.write(b"ab")
        hashing.write(b"c")
        hashing.flush()
        assert hashing.digest == "ba7816bf8f01cfea"
    assert (tmp_path / "file").read_bytes() == b"abc"
