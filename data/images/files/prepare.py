"""One image file on its way into a shard: checked and, if its annotation or the user requires it, turned or shrunk."""

from typing import Literal, NamedTuple

import cv2
import numpy as np
import simplejpeg

from data.images.files.decode import Image, decode
from data.images.files.facts import Facts, facts

JPEG_QUALITY = 95  # for pixels that had to be encoded again
FEW_BITS = 12

AS_STORED = "images that EXIF turns, annotated as stored (left as they are)"
AS_SHOWN = "images that EXIF turns, annotated as displayed (pixels turned)"
SILENT = "images that EXIF turns, whose size does not tell how they were annotated"
TURNED = f"{SILENT} (pixels turned; --exif keep leaves them)"
KEPT = f"{SILENT} (left as stored; --exif turn turns them)"
FILLING = "JPEGs with extraneous bytes (every pixel is there)"
DEEP = "images of 16 bits (the upper 8 are used)"
DARK = f"images of 16 bits that use {FEW_BITS} or fewer (the upper 8 are used and are dark: scale them first)"


class Prepared(NamedTuple):
    """An image as it goes into the shard."""

    data: bytes
    extension: str | None  # of the new file; None: the old file unchanged
    width: int
    height: int
    marks: list[str]  # what to count and report


def prepare(
    data: bytes, width: int, height: int, *, exif: Literal["turn", "keep"] = "turn", max_side: int | None = None
) -> Prepared:
    """Prepares an image. width, height: from the annotation. ValueError with the reason if it cannot be used.

    exif: what to do if the size does not tell the orientation: half a turn, mirrored or square.
    max_side: px; a larger image is shrunk.
    """
    remarks: list[str] = []
    try:
        image = decode(data, remarks=remarks)
    except ValueError as error:
        raise ValueError(f"does not decode: {error}") from None
    found = facts(data)
    marks = [*found.marks, *[FILLING for _ in remarks]]
    if found.depth == 16:
        marks.append(DARK if _bits(data) <= FEW_BITS else DEEP)
    stored = image.shape[1], image.shape[0]
    turned = _turned(image, found, (width, height), exif, marks)
    if (turned.shape[1], turned.shape[0]) != (width, height):
        raise ValueError(f"is {stored[0]}x{stored[1]} px, its annotation says {width}x{height}")
    if max_side is not None and max(width, height) > max_side:
        scale = max_side / max(width, height)
        width, height = (max(1, round(side * scale)) for side in (width, height))
        shrunk = cv2.resize(np.ascontiguousarray(turned), (width, height), interpolation=cv2.INTER_AREA)
        turned = np.asarray(shrunk, np.uint8)
    elif turned is image:
        return Prepared(data, None, width, height, marks)
    return Prepared(*_encoded(turned, jpeg=data.startswith(b"\xff\xd8")), width, height, marks)


def _turned(image: Image, found: Facts, size: tuple[int, int], exif: str, marks: list[str]) -> Image:
    if found.orientation == 1:
        return image
    height, width = image.shape[:2]
    sideways = found.orientation >= 5 and width != height
    if sideways:
        marks += [AS_STORED] if size == (width, height) else [AS_SHOWN] if size == (height, width) else []
        return image if size == (width, height) else turn(image, found.orientation)
    marks.append(TURNED if exif == "turn" else KEPT)
    return turn(image, found.orientation) if exif == "turn" else image


def turn(image: Image, orientation: int) -> Image:
    """[H, W, 3] as a viewer that obeys EXIF orientation shows it."""
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    upside_down, mirrored = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return image[:: -1 if upside_down else 1, :: -1 if mirrored else 1]


def _bits(data: bytes) -> int:
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return 16 if pixels is None else int(pixels.max()).bit_length()


def _encoded(image: Image, *, jpeg: bool) -> tuple[bytes, str]:
    image = np.ascontiguousarray(image)
    if jpeg:
        return simplejpeg.encode_jpeg(image, quality=JPEG_QUALITY, colorspace="RGB", colorsubsampling="444"), "jpg"
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes(), "png"
