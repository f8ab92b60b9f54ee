"""Image file bytes -> RGB array. JPEG through libjpeg-turbo (simplejpeg), anything else through OpenCV."""

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

Image = NDArray[np.uint8]

MAX_PIXELS = 2**28  # of an image: a file of a few hundred bytes can claim to be larger than the memory

cv2.setNumThreads(0)  # one image per process at a time; the processes are the parallelism


def decode(data: bytes | memoryview, out: Image | None = None) -> Image:
    """[H, W, 3] uint8 RGB of the stored pixels; an EXIF rotation is not applied (annotations refer to stored pixels).

    out: a contiguous [H, W, 3] to decode into, where the size is known; an image of another size is an error.
    ValueError with the reason for anything that is not wholly readable: a truncated file is an error, not a half-grey
    picture.
    """
    start = bytes(data[:24])
    if not start:
        raise ValueError("the file is empty")
    image = _decode_jpeg(data, out) if start.startswith(b"\xff\xd8") else _decode_other(data, out, start)
    if out is None:
        return image
    if not np.may_share_memory(image, out):
        out[:] = image
    return out


def _decode_jpeg(data: bytes | memoryview, out: Image | None) -> Image:
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        _check_size(width, height, out)
        image: Image = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True, buffer=out)
    except ValueError as error:
        raise ValueError(f"not a usable JPEG: {error}") from None
    return image


def _decode_other(data: bytes | memoryview, out: Image | None, start: bytes) -> Image:
    png = start.startswith(b"\x89PNG")
    if png:
        _check_size(int.from_bytes(start[16:20]), int.from_bytes(start[20:]), out)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:  # most files that it cannot read give None
        image = None
    if image is None:
        found = "a damaged PNG" if png else "neither JPEG nor another known image format"
        raise ValueError(f"{found} (first bytes {start[:4]!r})")
    _check_size(image.shape[1], image.shape[0], out)
    return np.asarray(image, np.uint8)


def _check_size(width: int, height: int, out: Image | None) -> None:
    if width * height > MAX_PIXELS:
        raise ValueError(f"the image is {width}x{height} px, more than {MAX_PIXELS:,} in all; make it smaller")
    if out is not None and (height, width) != out.shape[:2]:
        expected = f"{out.shape[1]}x{out.shape[0]}"
        raise ValueError(f"the image is {width}x{height} px, its annotation says {expected}")
