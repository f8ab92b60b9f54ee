"""Image bytes to RGB; everything that is not wholly readable is refused with a reason."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data.decode import decode


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    """RGB: smooth, with three different channels."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, 255 - x * 255 // width], -1).astype(np.uint8)


def encoded(image: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind, **options)
    return buffer.getvalue()


def test_a_jpeg_is_decoded_to_rgb() -> None:
    image = decode(encoded(picture(), "JPEG", quality=95))
    assert image.shape == (48, 64, 3) and image.dtype == np.uint8
    assert np.abs(image.astype(int) - picture()).mean() < 3


def test_a_jpeg_can_come_as_a_memoryview() -> None:
    data = encoded(picture(), "JPEG")
    np.testing.assert_array_equal(decode(memoryview(data)), decode(data))


def test_a_grey_jpeg_becomes_rgb() -> None:
    grey = picture()[..., 0]
    image = decode(encoded(grey, "JPEG", quality=95))
    assert image.shape == (48, 64, 3)
    np.testing.assert_array_equal(image[..., 0], image[..., 2])
    assert np.abs(image[..., 0].astype(int) - grey).mean() < 3


def test_a_png_is_decoded_exactly() -> None:
    np.testing.assert_array_equal(decode(encoded(picture(), "PNG")), picture())
    np.testing.assert_array_equal(decode(memoryview(encoded(picture(), "PNG"))), picture())


def test_the_transparency_of_a_png_is_left_out() -> None:
    data = encoded(np.dstack([picture(), np.full((48, 64), 9, np.uint8)]), "PNG")
    np.testing.assert_array_equal(decode(data), picture())


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_rotation_in_the_metadata_is_not_applied(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    assert decode(encoded(picture(), kind, exif=exif)).shape == (48, 64, 3)


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(ValueError, match="the file is empty"):
        decode(b"")


def test_something_else_is_refused_with_its_first_bytes() -> None:
    with pytest.raises(ValueError, match=r"another known image format \(first bytes b'<htm'\)"):
        decode(b"<html>not found</html>")


@pytest.mark.parametrize("kept", [2, 100, 0.5, -100, -2])
def test_a_jpeg_that_is_cut_short_is_refused(kept: float) -> None:
    data = encoded(picture(), "JPEG")
    with pytest.raises(ValueError, match="JPEG"):
        decode(data[: int(len(data) * kept) if isinstance(kept, float) else kept])


def test_a_jpeg_that_ends_early_says_so() -> None:
    data = encoded(picture(), "JPEG")
    with pytest.raises(ValueError, match="Premature end of JPEG file"):
        decode(data[: len(data) * 3 // 4])


def test_a_photograph_that_is_cut_short_is_refused(shared: Path) -> None:
    data = (shared / "data" / "truncated.jpg").read_bytes()
    with pytest.raises(ValueError, match="Premature end of JPEG file"):
        decode(data)


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_png_that_is_cut_short_is_refused(kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    data = encoded(noise, "PNG")
    with pytest.raises(ValueError, match=r"first bytes b'.x89PNG'"):
        decode(data[: int(len(data) * kept)])


def test_opencv_stays_on_one_thread() -> None:
    assert cv2.getNumThreads() == 1
