"""Images on their way into a shard: their bytes as they are, unless they have to be turned or shrunk."""

import io

import numpy as np
import pytest
from PIL import Image, ImageOps

from data.images.files.decode import decode
from data.images.files.prepare import AS_SHOWN, AS_STORED, DARK, DEEP, FILLING, KEPT, TURNED, prepare, turn
from tests.data.images.files.test_decode import encoded, picture, with_filling


def with_orientation(orientation: int, kind: str = "PNG", width: int = 64, height: int = 48) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(picture(height, width), kind, exif=exif)


def test_bytes_stay_as_they_are() -> None:
    data = encoded(picture(), "JPEG")
    assert prepare(data, 64, 48) == (data, None, 64, 48, [])
    assert prepare(data, 64, 48, max_side=64).data == data


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_is_what_viewers_do(orientation: int) -> None:
    shown = ImageOps.exif_transpose(Image.open(io.BytesIO(with_orientation(orientation))))
    np.testing.assert_array_equal(turn(picture(), orientation), np.asarray(shown))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_an_image_annotated_upright_is_turned(kind: str) -> None:
    """Its size says so; and the new file has no orientation that would turn it again."""
    for exif in ("turn", "keep"):
        found = prepare(with_orientation(6, kind), 48, 64, exif=exif)
        assert (found.width, found.height, found.marks) == (48, 64, [AS_SHOWN])
        assert np.abs(decode(found.data).astype(int) - turn(picture(), 6)).mean() < 3
        assert found.extension == {"PNG": "png", "JPEG": "jpg"}[kind]
        assert Image.open(io.BytesIO(found.data)).getexif().get(0x0112, 1) == 1


def test_an_image_annotated_as_stored_is_left() -> None:
    data = with_orientation(6)
    assert prepare(data, 64, 48) == (data, None, 64, 48, [AS_STORED])


@pytest.mark.parametrize(("orientation", "side"), [(3, 48), (2, 48), (6, 64)])
def test_where_the_size_says_nothing_the_user_does(orientation: int, side: int) -> None:
    data = with_orientation(orientation, height=side)
    turned = prepare(data, 64, side)
    np.testing.assert_array_equal(decode(turned.data), turn(picture(side, 64), orientation))
    assert turned.marks == [TURNED]
    assert prepare(data, 64, side, exif="keep") == (data, None, 64, side, [KEPT])


def test_larger_images_are_shrunk() -> None:
    found = prepare(encoded(picture(), "PNG"), 64, 48, max_side=32)
    assert (found.width, found.height) == (32, 24)
    np.testing.assert_allclose(decode(found.data).astype(int), picture()[::2, ::2], atol=6)
    assert prepare(with_orientation(6), 48, 64, max_side=32)[2:4] == (24, 32)


def test_what_is_remarked_on() -> None:
    assert prepare(with_filling(encoded(picture(), "JPEG")), 64, 48).marks == [FILLING]
    for most, mark in ((4095, DARK), (65535, DEEP)):
        file = io.BytesIO()
        Image.fromarray(np.linspace(0, most, 64 * 48).reshape(48, 64).astype(np.uint16)).save(file, "PNG")
        assert prepare(file.getvalue(), 64, 48).marks == [mark]


@pytest.mark.parametrize(("data", "reason"), [(b"", "does not decode: the file is empty"), (b"x", "does not decode: ")])
def test_what_cannot_be_used(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        prepare(data, 64, 48)
    for orientation, size in ((1, (48, 64)), (6, (64, 47))):
        with pytest.raises(ValueError, match=f"is 64x48 px, its annotation says {size[0]}x{size[1]}"):
            prepare(with_orientation(orientation), *size)
