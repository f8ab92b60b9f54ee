"""Files are found whatever the case of their endings and the form of their letters; texts have a limit."""

import os
from pathlib import Path

import pytest

from data.sources.rules.files import IMAGE_SUFFIXES, by_name, read_lines, read_text, require_file, without_suffix


def test_files_by_name(tmp_path: Path) -> None:
    for name in ("a.PNG", "a.jpg", "e\u0301.JPEG", "deep/er/x.y.tif", ".hidden.jpg", ".git/b.jpg", "c.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = by_name(tmp_path, IMAGE_SUFFIXES)
    assert {name: [Path(path).name for path in paths] for name, paths in found.items()} == {
        "a": ["a.jpg", "a.PNG"],
        "\u00e9": ["e\u0301.JPEG"],
        "deep/er/x.y": ["x.y.tif"],
    }


def test_only_the_ending_of_an_image_is_taken_off() -> None:
    assert [without_suffix(name) for name in ("a.b.JPG", "x/y.webp", "2008.1", "a")] == ["a.b", "x/y", "2008.1", "a"]


def test_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("\ufeffone \r\n\n  tw\u00f6\n".encode())
    assert read_lines(path) == [(1, "one"), (3, "tw\u00f6")]
    with pytest.raises(ValueError, match=r"a\.txt: expected up to 5 bytes, found 17; is it an annotation file"):
        require_file(path, 5)
    path.write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"a\.txt: expected UTF-8 text, found"):
        read_text(path)
    path.write_bytes(b"a\0b")
    with pytest.raises(ValueError, match=r"a\.txt: expected UTF-8 text, found zero bytes, as in UTF-16"):
        read_lines(path)
    path.unlink()
    os.mkfifo(path)
    for other in (path, tmp_path, tmp_path / "none"):
        with pytest.raises(ValueError, match="expected a file, found none"):
            read_text(other)
