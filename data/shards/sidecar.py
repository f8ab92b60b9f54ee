"""KEY.json: what is on one image, as it stands in a tar. docs/data.md has the layout. Nothing in it is believed."""

import json
import re
import reprlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_SIDE_PX = 65_535  # JPEG's own limit


class Note(NamedTuple):
    """KEY.json: what is on one image. N objects."""

    image_id: str
    width: int
    height: int
    boxes_xyxy_px: NDArray[np.float64]  # [N, 4]
    areas_px: NDArray[np.float64]  # [N]
    names: list[str]  # [N] of classes
    difficult: NDArray[np.bool_]  # [N]
    crowd: NDArray[np.bool_]  # [N]

    def text(self) -> bytes:
        return json.dumps(
            {
                "image_id": self.image_id,
                "width": self.width,
                "height": self.height,
                "boxes_xyxy_px": self.boxes_xyxy_px.tolist(),
                "areas_px": self.areas_px.tolist(),
                "labels": self.names,
                "difficult": self.difficult.tolist(),
                "crowd": self.crowd.tolist(),
            }
        ).encode()


def parse_note(text: bytes, key: str, where: str) -> Note:
    """`where` is for messages. Only width, height, boxes_xyxy_px and labels must be there."""

    def fail(expected: str, found: Any) -> ValueError:
        shown = found if isinstance(found, str) else reprlib.repr(found)
        return ValueError(f"{where}: expected {expected}, found {shown[:80]}; docs/data.md describes the layout")

    try:
        note = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise fail("JSON", str(error)) from None
    if not isinstance(note, dict):
        raise fail("an object with width, height, boxes_xyxy_px and labels", type(note).__name__)
    missing = {"width", "height", "boxes_xyxy_px", "labels"} - note.keys()
    if missing:
        raise fail("width, height, boxes_xyxy_px and labels", f"no {', '.join(sorted(missing))}")
    width, height, names = note["width"], note["height"], note["labels"]
    for side in (width, height):
        if type(side) is not int or not 0 < side <= MAX_SIDE_PX:
            raise fail(f"width and height in whole px from 1 to {MAX_SIDE_PX:,}", [width, height])
    if not isinstance(names, list) or not all(isinstance(name, str) and name.isprintable() and name for name in names):
        raise fail("labels as a list of class names", names)
    count = len(names)
    boxes = _numbers(note["boxes_xyxy_px"], count, 4)
    if boxes is None:
        expected = f"boxes_xyxy_px as [x1, y1, x2, y2] of finite numbers for each of {count} labels"
        raise fail(expected, note["boxes_xyxy_px"])
    inside = (boxes >= 0).all(1) & (boxes <= (width, height, width, height)).all(1)
    bad = ~(inside & (boxes[:, 2:] > boxes[:, :2]).all(1))
    if bad.any():
        raise fail(f"boxes with an area inside {width}x{height} px", boxes[bad][0].tolist())
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    if "areas_px" in note:
        given = note["areas_px"]
        rows = _numbers([[area] for area in given] if isinstance(given, list) else None, count, 1)
        if rows is None or (rows < 0).any():
            raise fail(f"areas_px as {count} finite numbers from 0", given)
        areas = rows[:, 0]
    flags = {}
    for name in ("difficult", "crowd"):
        flags[name] = note.get(name, [False] * count)
        if not isinstance(flags[name], list) or [type(flag) for flag in flags[name]] != [bool] * count:
            raise fail(f"{name} as {count} times true or false", flags[name])
    image_id = note.get("image_id", key)
    if type(image_id) not in (str, int) or not re.fullmatch(r"[\x21-\x7e]{1,200}", str(image_id)):
        raise fail("image_id as a number or a word", image_id)
    return Note(
        image_id=str(image_id),
        width=width,
        height=height,
        boxes_xyxy_px=boxes,
        areas_px=areas,
        names=names,
        difficult=np.array(flags["difficult"], np.bool_),
        crowd=np.array(flags["crowd"], np.bool_),
    )


def _numbers(rows: Any, count: int, width: int) -> NDArray[np.float64] | None:
    """[count, width], or None for anything that is not as many finite numbers."""
    if not isinstance(rows, list) or len(rows) != count:
        return None
    if not all(isinstance(row, list) and len(row) == width for row in rows):
        return None
    if not all(isinstance(number, int | float) and type(number) is not bool for row in rows for number in row):
        return None
    try:
        numbers = np.array(rows, np.float64).reshape(count, width)
    except OverflowError:
        return None
    return numbers if bool(np.isfinite(numbers).all()) else None
