"""What an image file is besides its pixels."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.images.files.facts import Facts, facts, stored_size
from tests.data.images.files.test_decode import encoded, picture


def test_a_plain_jpeg_has_nothing_unusual() -> None:
    for mode in (None, "L"):
        assert facts(encoded(picture(), "JPEG", mode=mode)) == Facts()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 9])
def test_orientation(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(picture(), kind, exif=exif)
    found = orientation if orientation < 9 else 1
    assert facts(data).orientation == found
    (tmp_path / "a").write_bytes(data)
    assert stored_size(tmp_path / "a") == stored_size(io.BytesIO(data)) == (64, 48, found)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (encoded(picture(), "JPEG", mode="CMYK"), ["CMYK"]),
        (encoded(picture(), "PNG", mode="RGBA"), ["transparency"]),
        (encoded(picture(), "PNG", mode="LA"), ["transparency"]),
        (encoded(picture(), "PNG", mode="P"), []),
        (encoded(picture(), "WEBP", save_all=True, append_images=[Image.new("RGB", (64, 48))]), ["animated"]),
        (encoded(picture(), "TIFF", save_all=True, append_images=[Image.new("RGB", (64, 48))]), ["several pages"]),
        (encoded(picture(), "GIF"), []),
        (b"nothing", []),
    ],
)
def test_marks(data: bytes, words: list[str]) -> None:
    marks = facts(data).marks
    assert len(marks) == len(words) and all(word in mark for word, mark in zip(words, marks, strict=True))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_depth(kind: str) -> None:
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(file, kind)
    assert facts(file.getvalue()).depth == 16 and facts(encoded(picture(), kind)).depth == 8


def test_a_file_that_is_no_image_has_no_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="cannot identify"):
        stored_size(tmp_path / "a")
