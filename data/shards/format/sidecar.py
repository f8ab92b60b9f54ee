"""KEY.json: the annotation of one image in a tar. docs/data.md has the layout. Nothing in it is trusted."""

import json
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from data.records import Record
from data.wording import counted, is_class_name, is_printable

MAX_SIDE_PX = 65_535  # JPEG's own limit
MAX_IMAGE_ID = 500  # characters
SOURCE_SIZE = ("source_width", "source_height")

SidePx = Annotated[int, msgspec.Meta(ge=1, le=MAX_SIDE_PX)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class Sidecar(NamedTuple):
    """KEY.json, checked. N objects."""

    image_id: str
    width: int
    height: int
    boxes_xyxy_px: NDArray[np.float64]  # [N, 4]
    areas_px: NDArray[np.float64]  # [N]
    names: list[str]  # [N] of classes
    difficult: NDArray[np.bool_]  # [N]
    crowd: NDArray[np.bool_]  # [N]
    source_size: tuple[int, int] | None = None  # px, if the image was shrunk for the set

    def text(self) -> bytes:
        """The JSON to write."""
        shrunk = {} if self.source_size is None else dict(zip(SOURCE_SIZE, self.source_size, strict=True))
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
                **shrunk,
            }
        ).encode()


class _Layout(msgspec.Struct, gc=False):
    """The required JSON."""

    width: SidePx
    height: SidePx
    boxes_xyxy_px: list[tuple[float, float, float, float]]
    labels: list[str]
    areas_px: list[NotNegative] | UnsetType = UNSET
    difficult: list[bool] | UnsetType = UNSET
    crowd: list[bool] | UnsetType = UNSET
    image_id: int | str | UnsetType = UNSET
    source_width: SidePx | UnsetType = UNSET
    source_height: SidePx | UnsetType = UNSET


_DECODER = msgspec.json.Decoder(_Layout)


def sidecar_of(record: Record, classes: tuple[str, ...], size: tuple[int, int] | None = None) -> Sidecar:
    """Converts a record. size: px of the image in the shard, if not the record's."""
    if size not in (None, (record.width, record.height)):
        return _scaled(sidecar_of(record, classes), *size)
    return Sidecar(
        image_id=record.image_id,
        width=record.width,
        height=record.height,
        boxes_xyxy_px=record.boxes_xyxy_px,
        areas_px=record.areas_px,
        names=[classes[label] for label in record.labels],
        difficult=record.difficult,
        crowd=record.crowd,
    )


def _scaled(sidecar: Sidecar, width: int, height: int) -> Sidecar:
    scale_x, scale_y = width / sidecar.width, height / sidecar.height
    limits = np.array([width, height, width, height])
    return sidecar._replace(
        width=width,
        height=height,
        boxes_xyxy_px=np.minimum(sidecar.boxes_xyxy_px * [scale_x, scale_y, scale_x, scale_y], limits),
        areas_px=sidecar.areas_px * (scale_x * scale_y),
        source_size=(sidecar.width, sidecar.height),
    )


def parse_sidecar(text: bytes, key: str, where: str) -> Sidecar:
    """Parses KEY.json; only width, height, boxes_xyxy_px and labels are required. where: its name in messages."""

    def fail(problem: object) -> ValueError:
        return ValueError(f"{where}: {str(problem)[:160]}; docs/data.md describes the layout")

    try:
        layout = _DECODER.decode(text)
    except (ValueError, RecursionError) as error:
        raise fail(error) from None
    names, width, height = layout.labels, layout.width, layout.height
    if odd := [name for name in names if not is_class_name(name)]:
        raise fail(f"expected printable class names as labels, found {odd[0][:80]!r}")
    for column in ("boxes_xyxy_px", "areas_px", "difficult", "crowd"):
        values = getattr(layout, column)
        if values is not UNSET and len(values) != len(names):
            raise fail(f"expected {column} of {counted(len(names), 'object')}, as in labels, found {len(values)}")
    boxes = np.array(layout.boxes_xyxy_px, np.float64).reshape(-1, 4)
    sizes = boxes[:, 2:] - boxes[:, :2]
    inside = (boxes >= 0).all(1) & (boxes <= (width, height, width, height)).all(1)
    bad = ~(inside & (sizes > 0).all(1))
    if bad.any():
        raise fail(f"expected boxes with an area inside {width}x{height} px, found {boxes[bad][0].tolist()}")
    given = layout.source_width or 0, layout.source_height or 0
    if any(given) != all(given):
        raise fail(f"expected both of {' and '.join(SOURCE_SIZE)} or neither")
    image_id = key if layout.image_id is UNSET else str(layout.image_id)
    if not 1 <= len(image_id) <= MAX_IMAGE_ID or not is_printable(image_id):
        raise fail(f"expected image_id: a number or up to {MAX_IMAGE_ID} printable letters, found {image_id[:80]!r}")
    return Sidecar(
        image_id=image_id,
        width=width,
        height=height,
        boxes_xyxy_px=boxes,
        areas_px=np.array(layout.areas_px, float) if layout.areas_px else sizes.prod(1),
        names=names,
        difficult=np.array(layout.difficult or [False] * len(names), np.bool_),
        crowd=np.array(layout.crowd or [False] * len(names), np.bool_),
        source_size=given if all(given) else None,
    )
