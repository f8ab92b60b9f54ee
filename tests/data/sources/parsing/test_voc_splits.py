"""Lists of images as people write them. Layouts of folders: test_voc.py."""

from pathlib import Path

import pytest

from data.sources.parsing.voc_splits import find_split
from data.sources.rules.choose import Choice


def ids(tmp_path: Path, listing: str) -> list[str]:
    for name in ("img", "img 1", "sub/a.b", "c"):
        path = tmp_path / f"{name}.XML"
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / "list.txt").write_text(listing)
    split, _ = find_split(tmp_path, "list.txt", Choice(), None, None)
    return split.ids


@pytest.mark.parametrize(
    ("listing", "found"),
    [
        ("img\nimg 1\nc -1\n", ["img", "img 1"]),  # the second is a name, not a flag
        ("img  0\nimg 1 1\n", ["img", "img 1"]),
        ("sub/a.b\nsub\\a.b.jpg\n", ["sub/a.b", "sub/a.b"]),
        ("/somewhere/else/c.PNG\n./img.jpeg\n", ["c", "img"]),
    ],
)
def test_entries(tmp_path: Path, listing: str, found: list[str]) -> None:
    assert ids(tmp_path, listing) == found


@pytest.mark.parametrize("line", ["../c", "/etc/passwd", "img 2", "a b c"])
def test_entries_that_are_no_image(tmp_path: Path, line: str) -> None:
    with pytest.raises(ValueError, match=r"list\.txt:1: expected ID or ID -1\|0\|1, found"):
        ids(tmp_path, line)
