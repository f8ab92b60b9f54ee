"""Image file bytes -> RGB array. JPEG through libjpeg-turbo (simplejpeg), anything else through OpenCV."""

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

Image = NDArray[np.uint8]

cv2.setNumThreads(0)  # one image per process at a time; the processes are the parallelism


def decode(data: bytes | memoryview, out: Image | None = None) -> Image:
    """[H, W, 3] uint8 RGB of the stored pixels; an EXIF rotation is not applied (annotations refer to stored pixels).

    out: a contiguous [H, W, 3] to decode into, where the size is known; an image of another size is an error.
    ValueError with the reason for anything that is not wholly readable: a truncated file is an error, not a half-grey
    picture.
    """
    image = _decode(data, out)
    if out is None:
        return image
    if image.shape != out.shape:
        found, expected = (f"{shape[1]}x{shape[0]}" for shape in (image.shape, out.shape))
        raise ValueError(f"the image is {found} px, its annotation says {expected}")
    if not np.may_share_memory(image, out):
        out[:] = image
    return out


def _decode(data: bytes | memoryview, out: Image | None) -> Image:
    if len(data) == 0:
        raise ValueError("the file is empty")
    if data[:2] == b"\xff\xd8":
        image: Image = simplejpeg.decode_jpeg(data, colorspace="RGB", strict=True, buffer=out)
        return image
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if other is None:
        raise ValueError(f"neither JPEG nor another known image format (first bytes {bytes(data[:4])!r})")
    return np.asarray(other, np.uint8)
