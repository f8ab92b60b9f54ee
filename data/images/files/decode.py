"""Image file bytes -> RGB array. JPEG through libjpeg-turbo (simplejpeg), anything else through OpenCV."""

import io
import re
import warnings

import cv2
import numpy as np
import PIL.Image
import simplejpeg
from numpy.typing import NDArray

Image = NDArray[np.uint8]

MAX_IMAGE_BYTES = 2**30  # of a file
MAX_PIXELS = 2**28  # of an image: a file of a few hundred bytes can claim more than fits in memory
OTHER_FORMATS = ("BMP", "GIF", "JPEG2000", "PPM", "TIFF")  # whose headers Pillow reads
EXTRANEOUS = re.compile(r"extraneous bytes before marker")  # libjpeg's warning about a file with all of its pixels

cv2.setNumThreads(0)  # one image per process at a time; the processes are the parallelism
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # unreadable files are errors here, not console lines
PIL.Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # one limit for the whole program


def decode(data: bytes | memoryview, out: Image | None = None, remarks: list[str] | None = None) -> Image:
    """[H, W, 3] uint8 RGB of the stored pixels; EXIF rotation is not applied (annotations refer to stored pixels).

    out: a contiguous [H, W, 3] to decode into, if the size is known; an image of another size is an error.
    remarks: receives a sentence if the file is faulty though every pixel is there.
    ValueError with the reason for anything that is not entirely readable: a truncated file is an error, not a half-grey
    picture. Memory is never allocated for more than MAX_PIXELS.
    """
    start = bytes(data[:24])
    if not start:
        raise ValueError("the file is empty")
    if start.startswith(b"\xff\xd8"):
        image = _decode_jpeg(data, out, remarks)
    else:
        image = _decode_other(data, out, start)
    if out is None:
        return image
    if not np.may_share_memory(image, out):
        out[:] = image
    return out


def _decode_jpeg(data: bytes | memoryview, out: Image | None, remarks: list[str] | None) -> Image:
    try:
        try:
            return _jpeg(data, out, strict=True)
        except ValueError as error:
            if not EXTRANEOUS.search(str(error)):
                raise
            if remarks is not None:
                remarks.append(str(error))
        return _jpeg_with_filling(_without_filling(bytes(data)), out)
    except ValueError as error:
        raise ValueError(f"not a usable JPEG: {error}") from None


def _jpeg(data: bytes | memoryview, out: Image | None, *, strict: bool) -> Image:
    height, width, *_ = simplejpeg.decode_jpeg_header(data, strict=strict)
    _check_size(width, height, out)
    image: Image = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=strict, buffer=out)
    return image


def _jpeg_with_filling(data: bytes, out: Image | None) -> Image:
    """Decodes despite filling bytes. libjpeg stops at its first warning; Pillow says whether every pixel is there."""
    try:
        return _jpeg(data, out, strict=True)
    except ValueError as error:
        if not EXTRANEOUS.search(str(error)):
            raise
    image = _jpeg(data, out, strict=False)
    try:
        with PIL.Image.open(io.BytesIO(data), formats=["JPEG"]) as whole:
            whole.load()
    except (OSError, SyntaxError) as fault:
        raise ValueError(str(fault)) from None
    return image


def _without_filling(data: bytes) -> bytes:
    """The same JPEG without the bytes between the segments before its pixels."""
    parts, place = [data[:2]], 2
    while True:
        marker = data.find(b"\xff", place)
        while data[marker + 1 : marker + 2] == b"\xff":
            marker += 1
        length = int.from_bytes(data[marker + 2 : marker + 4])
        if marker < 0 or length < 2 or data[marker + 1 : marker + 2] == b"\xda":  # the pixels begin
            return b"".join([*parts, data[max(marker, place) :]])
        parts.append(data[marker : marker + 2 + length])
        place = marker + 2 + length


def _decode_other(data: bytes | memoryview, out: Image | None, start: bytes) -> Image:
    if start.startswith(b"\x89PNG"):
        kind, width, height = "PNG", int.from_bytes(start[16:20]), int.from_bytes(start[20:])
    elif start.startswith(b"RIFF") and start[8:12] == b"WEBP":  # Pillow would allocate its pixels at once
        kind, (width, height) = "WEBP", _webp_size(bytes(data[12:30]))
    else:
        kind, width, height = _header(bytes(data))
    _check_size(width, height, out)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # for most unreadable files it returns None
        image = None
    if image is None:
        raise ValueError(f"a damaged {'PNG' if kind == 'PNG' else f'or unusual {kind}'} (first bytes {start[:4]!r})")
    _check_size(image.shape[1], image.shape[0], out)
    return np.asarray(image, np.uint8)


def _webp_size(chunk: bytes) -> tuple[int, int]:
    """Size from the first chunk: extended, lossless or lossy."""
    if chunk.startswith(b"VP8X"):
        return 1 + int.from_bytes(chunk[12:15], "little"), 1 + int.from_bytes(chunk[15:18], "little")
    if chunk.startswith(b"VP8L"):
        bits = int.from_bytes(chunk[9:13], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(chunk[14:16], "little") & 0x3FFF, int.from_bytes(chunk[16:18], "little") & 0x3FFF


def _header(data: bytes) -> tuple[str, int, int]:
    """Format, width and height in px, before any memory is allocated for pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with PIL.Image.open(io.BytesIO(data), formats=OTHER_FORMATS) as image:
                return str(image.format), *image.size
    except PIL.Image.DecompressionBombError:
        raise ValueError(f"the image has more than {MAX_PIXELS:,} px in total; make it smaller") from None
    except Exception:  # for a damaged header Pillow raises a dozen kinds
        raise ValueError(f"neither JPEG nor another known image format (first bytes {data[:4]!r})") from None


def _check_size(width: int, height: int, out: Image | None) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"the image is {width}x{height} px, more than {MAX_PIXELS:,} in total; make it smaller")
    if out is not None and (height, width) != out.shape[:2]:
        expected = f"{out.shape[1]}x{out.shape[0]}"
        raise ValueError(f"the image is {width}x{height} px, its annotation says {expected}")
