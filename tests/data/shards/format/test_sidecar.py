"""KEY.json is read back as it was written, or refused with a reason."""

import re
import time
from pathlib import Path

import pytest

from data.shards.format.sidecar import MAX_SIDE_PX, parse_sidecar, sidecar_of
from data.shards.writing.scan import scan_shard
from tests.data.pictures import annotations, jpeg, note, write_tar


def test_the_least_sidecar() -> None:
    found = parse_sidecar(note(), "some/key", "here")
    assert (found.image_id, found.width, found.height, found.names) == ("some/key", 40, 30, ["cat"])
    assert found.boxes_xyxy_px.tolist() == [[1, 2, 10, 20]] and found.areas_px.tolist() == [9 * 18]
    assert found.difficult.tolist() == [False] and found.crowd.tolist() == [False]


def test_a_sidecar_without_objects() -> None:
    found = parse_sidecar(note(boxes_xyxy_px=[], labels=[]), "key", "here")
    assert found.boxes_xyxy_px.shape == (0, 4) and found.names == []


def test_a_sidecar_is_read_back_as_it_was_written() -> None:
    text = note(image_id=7, areas_px=[0.1], difficult=[True], crowd=[True], boxes_xyxy_px=[[0, 0.1, 40, 30]])
    found = parse_sidecar(text, "key", "here")
    assert (found.image_id, found.areas_px.tolist()) == ("7", [0.1])
    again = parse_sidecar(found.text(), "key", "here")
    assert again.text() == found.text() and again.boxes_xyxy_px.tolist() == [[0, 0.1, 40, 30]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "Input data was truncated"),
        (b"\xff\xfe\x00", "JSON is malformed: invalid character (byte 0)"),
        (b"{}", "Object missing required field `width`"),
        (b"[1]", "Expected `object`, got `array`"),
        (b"[" * 100_000, "Expected `object`, got `array`"),
        (b'{"width": ' + b"9" * 5000 + b"}", "Integer value out of range - at `$.width`"),
        (b'{"other": ' + b"[" * 100_000, "maximum recursion depth exceeded"),
        (note(width=0), "Expected `int` >= 1 - at `$.width`"),
        (note(height=MAX_SIDE_PX + 1), "Expected `int` <= 65535 - at `$.height`"),
        (note(width=40.0), "Expected `int`, got `float` - at `$.width`"),
        (note(width=True), "Expected `int`, got `bool` - at `$.width`"),
        (note(height=[[[]]]), "Expected `int`, got `array` - at `$.height`"),
        (note(labels="cat"), "Expected `array`, got `str` - at `$.labels`"),
        (note(labels=[""]), "expected printable class names as labels, found ''"),
        (note(labels=["a\x1b[2J"]), r"expected printable class names as labels, found 'a\x1b[2J'"),
        (note(labels=["\ud800"]), "truncated"),
        (note(labels=[3]), "Expected `str`, got `int` - at `$.labels[0]`"),
        (note(labels=["cat", "dog"]), "expected boxes_xyxy_px of 2 objects, as in labels, found 1"),
        (note(boxes_xyxy_px=[[1, 2, 10]]), "Expected `array` of length 4 - at `$.boxes_xyxy_px[0]`"),
        (note(boxes_xyxy_px={"x": 1}), "Expected `array`, got `object` - at `$.boxes_xyxy_px`"),
        (note(boxes_xyxy_px=[[1, 2, 10, "20"]]), "Expected `float`, got `str` - at `$.boxes_xyxy_px[0][3]`"),
        (note(boxes_xyxy_px=[[1, 2, 10, True]]), "Expected `float`, got `bool` - at `$.boxes_xyxy_px[0][3]`"),
        (note(boxes_xyxy_px=[[1, 2, 10, float("nan")]]), "JSON is malformed: invalid character"),
        (note(boxes_xyxy_px=[[1, 2, float("-inf"), 20]]), "JSON is malformed: invalid character"),
        (note(boxes_xyxy_px=[[1, 2, 10**400, 20]]), "Number out of range - at `$.boxes_xyxy_px[0][2]`"),
        (note(boxes_xyxy_px=[[-1, 2, 10, 20]]), "expected boxes with an area inside 40x30 px, found [-1.0, 2.0, 10.0"),
        (
            note(boxes_xyxy_px=[[1, 2, 1e308, 20]]),
            "expected boxes with an area inside 40x30 px, found [1.0, 2.0, 1e+308",
        ),
        (note(boxes_xyxy_px=[[1, 2, 41, 20]]), "expected boxes with an area inside 40x30 px, found"),
        (note(boxes_xyxy_px=[[1, 2, 1, 20]]), "expected boxes with an area inside 40x30 px, found"),
        (note(boxes_xyxy_px=[[10, 2, 1, 20]]), "expected boxes with an area inside 40x30 px, found"),
        (note(areas_px=[-1]), "Expected `float` >= 0.0 - at `$.areas_px[0]`"),
        (note(areas_px=[float("inf")]), "JSON is malformed: invalid character"),
        (note(areas_px=[]), "expected areas_px of 1 object, as in labels, found 0"),
        (note(areas_px=5), "Expected `array`, got `int` - at `$.areas_px`"),
        (note(difficult=[1]), "Expected `bool`, got `int` - at `$.difficult[0]`"),
        (note(crowd=[]), "expected crowd of 1 object, as in labels, found 0"),
        (note(crowd=None), "Expected `array`, got `null` - at `$.crowd`"),
        (note(image_id="a\nb"), r"expected image_id: a number or up to 500 printable letters, found 'a\nb'"),
        (note(image_id=""), "expected image_id: a number or up to 500 printable letters, found ''"),
        (note(image_id=True), "Expected `int | str`, got `bool` - at `$.image_id`"),
        (note(image_id="x" * 501), "expected image_id: a number or up to 500 printable letters, found 'xxx"),
    ],
)
def test_sidecars_that_are_refused(text: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        parse_sidecar(text, "key", "a.tar: key.json")
    assert str(error.value).startswith("a.tar: key.json: ")
    assert str(error.value).endswith("; docs/data.md describes the layout") and len(str(error.value)) < 300


@pytest.mark.parametrize("depth", range(900, 1000, 7))
def test_no_depth_is_too_deep_to_be_refused(depth: int) -> None:
    """What the JSON reader can just so take in must not be too much for the message about it."""
    text = note().replace(b'"width": 40', b'"width": ' + b"[" * depth + b"]" * depth)
    with pytest.raises(ValueError, match=r"^here: "):
        parse_sidecar(text, "key", "here")


def test_a_hundred_thousand_boxes_are_read_in_seconds(tmp_path: Path) -> None:
    count = 100_000
    crowded = note(boxes_xyxy_px=[[1.5, 2, 10, 20]] * count, labels=["cat"] * count)
    write_tar(tmp_path / "a.tar", [("a.jpg", jpeg()), ("a.json", crowded)])
    start = time.process_time()
    assert scan_shard(tmp_path / "a.tar").columns["boxes_xyxy_px"].shape == (count, 4)
    assert time.process_time() - start < 10


def test_the_size_of_the_original_is_kept() -> None:
    found = parse_sidecar(note(source_width=400, source_height=300), "key", "here")
    assert found.source_size == (400, 300) and parse_sidecar(found.text(), "key", "here").source_size == (400, 300)
    with pytest.raises(ValueError, match="expected both of source_width and source_height or neither"):
        parse_sidecar(note(source_width=400), "key", "here")


def test_a_record_whose_image_was_shrunk(tmp_path: Path) -> None:
    record = annotations(tmp_path / "images", 3).records[2]
    found = sidecar_of(record, ("cat", "dog"), (20, 15))
    assert (found.width, found.height, found.source_size) == (20, 15, (40, 30))
    assert found.boxes_xyxy_px.tolist() == [[0.75, 1, 6, 10.125], [0, 0, 20, 15]]
    assert found.areas_px.tolist() == (record.areas_px / 4).tolist()
    assert sidecar_of(record, ("cat", "dog"), (40, 30)).source_size is None
