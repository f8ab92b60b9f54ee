"""KEY.json is read back as it was written, or refused with a reason."""

import re
import time
from pathlib import Path

import pytest

from data.shards.index import scan_shard
from data.shards.sidecar import MAX_SIDE_PX, parse_note
from tests.data.pictures import jpeg, note, write_tar


def test_the_least_note() -> None:
    found = parse_note(note(), "some/key", "here")
    assert (found.image_id, found.width, found.height, found.names) == ("some/key", 40, 30, ["cat"])
    assert found.boxes_xyxy_px.tolist() == [[1, 2, 10, 20]] and found.areas_px.tolist() == [9 * 18]
    assert found.difficult.tolist() == [False] and found.crowd.tolist() == [False]


def test_a_note_without_objects() -> None:
    found = parse_note(note(boxes_xyxy_px=[], labels=[]), "key", "here")
    assert found.boxes_xyxy_px.shape == (0, 4) and found.names == []


def test_a_note_is_read_back_as_it_was_written() -> None:
    text = note(image_id=7, areas_px=[0.1], difficult=[True], crowd=[True], boxes_xyxy_px=[[0, 0.1, 40, 30]])
    found = parse_note(text, "key", "here")
    assert (found.image_id, found.areas_px.tolist()) == ("7", [0.1])
    again = parse_note(found.text(), "key", "here")
    assert again.text() == found.text() and again.boxes_xyxy_px.tolist() == [[0, 0.1, 40, 30]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "expected JSON, found Expecting value"),
        (b"\xff\xfe\x00", "expected JSON, found 'utf-16-le' codec can't decode"),
        (b"{}", "expected width, height, boxes_xyxy_px and labels, found no boxes_xyxy_px, height, labels, width"),
        (b"[1]", "expected an object with width, height, boxes_xyxy_px and labels, found list"),
        (b"[" * 100_000, "expected JSON, found maximum recursion depth exceeded"),
        (b'{"width": ' + b"9" * 5000 + b"}", "expected JSON, found Exceeds the limit"),
        (note(width=0), "expected width and height in whole px from 1 to 65,535, found [0, 30]"),
        (note(height=MAX_SIDE_PX + 1), "found [40, 65536]"),
        (note(width=40.0), "found [40.0, 30]"),
        (note(width=True), "found [True, 30]"),
        (note(height=[[[]]]), "found [40, [[[]]]]"),
        (note(labels="cat"), "expected labels as a list of class names, found cat"),
        (note(labels=[""]), "expected labels as a list of class names, found ['']"),
        (note(labels=["a\x1b[2J"]), r"expected labels as a list of class names, found ['a\x1b[2J']"),
        (note(labels=["\ud800"]), "expected labels as a list of class names"),
        (note(labels=[3]), "expected labels as a list of class names, found [3]"),
        (
            note(labels=["cat", "dog"]),
            "[x1, y1, x2, y2] of finite numbers for each of 2 labels, found [[1, 2, 10, 20]]",
        ),
        (note(boxes_xyxy_px=[[1, 2, 10]]), "for each of 1 labels, found [[1, 2, 10]]"),
        (note(boxes_xyxy_px={"x": 1}), "for each of 1 labels, found {'x': 1}"),
        (note(boxes_xyxy_px=[[1, 2, 10, "20"]]), "for each of 1 labels, found [[1, 2, 10, '20']]"),
        (note(boxes_xyxy_px=[[1, 2, 10, True]]), "for each of 1 labels, found [[1, 2, 10, True]]"),
        (note(boxes_xyxy_px=[[1, 2, 10, float("nan")]]), "for each of 1 labels, found [[1, 2, 10, nan]]"),
        (note(boxes_xyxy_px=[[1, 2, float("-inf"), 20]]), "for each of 1 labels, found [[1, 2, -inf, 20]]"),
        (note(boxes_xyxy_px=[[1, 2, 10**400, 20]]), "for each of 1 labels, found [[1, 2, 1000"),
        (note(boxes_xyxy_px=[[-1, 2, 10, 20]]), "expected boxes with an area inside 40x30 px, found [-1.0, 2.0, 10.0"),
        (
            note(boxes_xyxy_px=[[1, 2, 1e308, 20]]),
            "expected boxes with an area inside 40x30 px, found [1.0, 2.0, 1e+308",
        ),
        (note(boxes_xyxy_px=[[1, 2, 41, 20]]), "expected boxes with an area inside 40x30 px, found"),
        (note(boxes_xyxy_px=[[1, 2, 1, 20]]), "expected boxes with an area inside 40x30 px, found"),
        (note(boxes_xyxy_px=[[10, 2, 1, 20]]), "expected boxes with an area inside 40x30 px, found"),
        (note(areas_px=[-1]), "expected areas_px as 1 finite numbers from 0, found [-1]"),
        (note(areas_px=[float("inf")]), "expected areas_px as 1 finite numbers from 0, found [inf]"),
        (note(areas_px=[]), "expected areas_px as 1 finite numbers from 0, found []"),
        (note(areas_px=5), "expected areas_px as 1 finite numbers from 0, found 5"),
        (note(difficult=[1]), "expected difficult as 1 times true or false, found [1]"),
        (note(crowd=[]), "expected crowd as 1 times true or false, found []"),
        (note(crowd=None), "expected crowd as 1 times true or false, found None"),
        (note(image_id="a b"), "expected image_id as a number or a word, found a b"),
        (note(image_id=True), "expected image_id as a number or a word, found True"),
        (note(image_id="x" * 201), "expected image_id as a number or a word, found xxx"),
    ],
)
def test_notes_that_are_refused(text: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        parse_note(text, "key", "a.tar: key.json")
    assert str(error.value).startswith("a.tar: key.json: expected ")
    assert str(error.value).endswith("; docs/data.md describes the layout") and len(str(error.value)) < 300


@pytest.mark.parametrize("depth", range(900, 1000, 7))
def test_no_depth_is_too_deep_to_be_refused(depth: int) -> None:
    """What the JSON reader can just so take in must not be too much for the message about it."""
    text = note().replace(b'"width": 40', b'"width": ' + b"[" * depth + b"]" * depth)
    with pytest.raises(ValueError, match=r"^here: expected "):
        parse_note(text, "key", "here")


def test_a_hundred_thousand_boxes_are_read_in_seconds(tmp_path: Path) -> None:
    count = 100_000
    crowded = note(boxes_xyxy_px=[[1.5, 2, 10, 20]] * count, labels=["cat"] * count)
    write_tar(tmp_path / "a.tar", [("a.jpg", jpeg()), ("a.json", crowded)])
    start = time.monotonic()
    assert scan_shard(tmp_path / "a.tar").columns["boxes_xyxy_px"].shape == (count, 4)
    assert time.monotonic() - start < 10
