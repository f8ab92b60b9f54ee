"""Image bytes to RGB; everything that is not wholly readable is refused with a reason."""

import io
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data.images.files.decode import MAX_PIXELS, decode


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    """RGB: smooth, with three different channels."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, 255 - x * 255 // width], -1).astype(np.uint8)


def encoded(image: np.ndarray, kind: str, mode: str | None = None, **options: object) -> bytes:
    return saved(Image.fromarray(image).convert(mode), kind, **options)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
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


def test_a_jpeg_in_printing_colours_becomes_rgb() -> None:
    data = encoded(picture(), "JPEG", mode="CMYK", quality=95)
    image = decode(data)
    assert np.abs(image.astype(int) - picture()).mean() < 3
    assert np.abs(image.astype(int) - np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).max() <= 2


def test_sixteen_bits_become_eight() -> None:
    grey = Image.fromarray(picture()[..., 0].astype(np.uint16) * 257)
    np.testing.assert_array_equal(decode(saved(grey, "PNG")), np.repeat(picture()[..., :1], 3, axis=2))
    colours = cv2.imencode(".png", picture()[..., ::-1].astype(np.uint16) * 257)[1].tobytes()
    np.testing.assert_array_equal(decode(colours), picture())


@pytest.mark.parametrize("mode", ["1", "P", "L", "LA"])
def test_every_kind_of_png_becomes_rgb(mode: str) -> None:
    few = picture() // 64 * 85  # no more colours than a palette holds
    expected = np.asarray(Image.fromarray(few).convert(mode).convert("RGB"))
    np.testing.assert_array_equal(decode(encoded(few, "PNG", mode=mode)), expected)


@pytest.mark.parametrize("kind", ["WEBP", "BMP", "TIFF", "GIF"])
def test_the_content_counts_and_not_the_name(kind: str) -> None:
    """Pictures from the web are often called .jpg and are something else."""
    image = decode(encoded(picture(), kind))
    assert image.shape == (48, 64, 3)
    assert np.abs(image.astype(int) - picture()).mean() < 8


def test_an_image_is_decoded_into_the_given_array() -> None:
    for data in (encoded(picture(), "JPEG"), encoded(picture(), "PNG")):
        out = np.zeros((48, 64, 3), np.uint8)
        assert decode(data, out) is out
        np.testing.assert_array_equal(out, decode(data))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP"])
@pytest.mark.parametrize("size", [(64, 48), (40, 40), (100, 100)])
def test_an_image_of_another_size_than_expected_is_refused(kind: str, size: tuple[int, int]) -> None:
    message = rf"the image is 64x48 px, its annotation says {size[1]}x{size[0]}"
    with pytest.raises(ValueError, match=message):
        decode(encoded(picture(), kind), np.zeros((*size, 3), np.uint8))


@pytest.mark.parametrize("size", [(65_500, 65_500), (2**14 + 1, 2**14)])
def test_a_small_file_that_claims_to_be_huge_is_refused(size: tuple[int, int]) -> None:
    width, height = size
    jpeg = bytearray(encoded(picture(), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    for data in (bytes(jpeg), png + encoded(picture(), "PNG")[33:]):
        with pytest.raises(
            ValueError, match=f"the image is {width}x{height} px, more than {MAX_PIXELS:,} in total; make"
        ):
            decode(data)


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(ValueError, match="the file is empty"):
        decode(b"")


def test_something_else_is_refused_with_its_first_bytes() -> None:
    with pytest.raises(ValueError, match=r"another known image format \(first bytes b'<htm'\)"):
        decode(b"<html>not found</html>")


@pytest.mark.parametrize("kept", [2, 100, 0.5, -100, -2])
def test_a_jpeg_that_is_cut_short_is_refused(kept: float) -> None:
    data = encoded(picture(), "JPEG")
    with pytest.raises(ValueError, match=r"^not a usable JPEG: "):
        decode(data[: int(len(data) * kept) if isinstance(kept, float) else kept])


def test_a_jpeg_that_ends_early_says_so() -> None:
    data = encoded(picture(), "JPEG")
    with pytest.raises(ValueError, match=r"^not a usable JPEG: Premature end of JPEG file"):
        decode(data[: len(data) * 3 // 4])


def test_a_photograph_that_is_cut_short_is_refused(shared: Path) -> None:
    data = (shared / "data" / "truncated.jpg").read_bytes()
    with pytest.raises(ValueError, match=r"^not a usable JPEG: Premature end of JPEG file"):
        decode(data)


@pytest.mark.parametrize("kept", [4, 20, 0.3, 0.6, -12, -1])
def test_a_png_that_is_cut_short_is_refused(kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    data = encoded(noise, "PNG")
    with pytest.raises(ValueError, match=r"^a damaged PNG \(first bytes b'.x89PNG'\)$"):
        decode(data[: int(len(data) * kept) if isinstance(kept, float) else kept])


def test_a_png_with_a_changed_byte_is_refused() -> None:
    data = encoded(picture(), "PNG")
    for place in range(45, len(data) - 12, 7):
        with pytest.raises(ValueError, match="a damaged PNG"):
            decode(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])


def test_opencv_stays_on_one_thread() -> None:
    assert cv2.getNumThreads() == 1


# ----------------------------------------------------------------------------------------- remarks, formats and bombs


def with_filling(data: bytes, filling: bytes = b"\x00\x01") -> bytes:
    """Bytes that belong to no segment, before the quantization table: libjpeg warns and reads on."""
    place = data.index(b"\xff\xdb")
    return data[:place] + filling + data[place:]


def test_extraneous_bytes_are_a_remark() -> None:
    whole, remarks = encoded(picture(), "JPEG"), list[str]()
    np.testing.assert_array_equal(decode(with_filling(whole), remarks=remarks), decode(whole))
    assert remarks == ["Corrupt JPEG data: 2 extraneous bytes before marker 0xdb"]
    behind = whole[:-2] + b"\x00\x01\x02\x03" + whole[-2:]
    np.testing.assert_array_equal(decode(behind, remarks=remarks), decode(whole))
    out = np.empty((48, 64, 3), np.uint8)
    assert decode(with_filling(whole), out) is out and (out == decode(whole)).all()
    decode(whole, remarks=remarks)
    assert len(remarks) == 1


def test_extraneous_bytes_hide_no_other_fault() -> None:
    filled = with_filling(encoded(picture(), "JPEG", quality=95))
    for cut in (50, len(filled) // 2, 3):
        with pytest.raises(ValueError, match="not a usable JPEG: "):
            decode(filled[:-cut])


@pytest.mark.parametrize("kind", ["BMP", "WEBP", "TIFF", "GIF", "PPM"])
def test_other_formats(kind: str) -> None:
    data = encoded(picture(), kind, **({"lossless": True} if kind == "WEBP" else {}))
    image = decode(data)
    assert np.abs(image.astype(int) - np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))).max() == 0
    with pytest.raises(ValueError, match=rf"a damaged or unusual {kind}|neither JPEG nor another known"):
        decode(data[:-40])


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0"}])
def test_the_size_of_every_kind_of_webp_is_known_before_it_is_decoded(
    options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(picture(), "WEBP", **options)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="the image is 64x48 px, its annotation says 10x10"):
        decode(data, np.empty((10, 10, 3), np.uint8))


def test_no_format_may_claim_more_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is decoded: that would take the memory."""
    side = 17_000
    bombs = {
        "webp": b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4)
        + (side - 1).to_bytes(3, "little") * 2,
        "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0),
        "gif": encoded(picture(), "GIF").replace(struct.pack("<HH", 64, 48), struct.pack("<HH", side, side)),
        "ppm": f"P6 {side} {side} 255\n".encode(),
        "tiff": encoded(picture(), "TIFF")
        .replace(struct.pack("<HHII", 256, 4, 1, 64), struct.pack("<HHII", 256, 4, 1, side))
        .replace(struct.pack("<HHII", 257, 4, 1, 48), struct.pack("<HHII", 257, 4, 1, side)),
    }  # fmt: skip
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    for data in bombs.values():
        with pytest.raises(ValueError, match=r"17000x17000 px, more than 268,435,456 in total"):
            decode(data)
