"""What every annotation format hands over."""

import dataclasses
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from data.records import Findings, Record, RecordTable, SomeRecords


def test_a_record_is_a_value_of_its_own() -> None:
    none = np.zeros(0)
    record = Record("k", "k", Path("k.jpg"), 3, 2, none.reshape(0, 4), none, none.astype(np.int16), none > 0, none > 0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.width = 4  # type: ignore[misc]
    assert record != dataclasses.replace(record)  # arrays do not compare to one truth value


def test_findings_are_counted_and_shown_by_the_first_of_them() -> None:
    findings, other = Findings(), Findings()
    findings.add("things (why)", ["a", "b"])
    findings.add("nothing", [])
    other.add("things (why)", ["c", "d"])
    other.add("others", ["e"], 1500)
    findings.merge(other)
    assert findings.lines() == ["things (why): 4 (a, b, c, ...)", "others: 1,500 (e, ...)"]


def table() -> RecordTable:
    """Three images with 2, 0 and 1 objects."""
    boxes = np.arange(12.0).reshape(3, 4)
    return RecordTable(
        keys=np.array([b"a", b"bb", b"c"]),
        image_ids=np.array([text.encode() for text in ("7", "K\u00e4fer", "9")]),
        images=np.array([os.fsencode(path) for path in ("/x/a.jpg", "/x/\udcff.png", "/x/c.jpg")]),
        sizes_px=np.array([[5, 6], [7, 8], [9, 10]], np.int32),
        object_starts=np.array([0, 2, 2, 3]),
        boxes_xyxy_px=boxes,
        areas_px=boxes[:, 0],
        labels=np.array([4, 5, 6], np.int16),
        difficult=np.array([True, False, False]),
        crowd=np.array([False, False, True]),
    )


def test_a_table_makes_records_when_they_are_asked_for() -> None:
    records = table()
    assert len(records) == 3 and [record.key for record in records] == ["a", "bb", "c"]
    one = records[1]
    assert (one.image_id, one.image, one.width, one.height) == ("K\u00e4fer", Path("/x/\udcff.png"), 7, 8)
    assert one.boxes_xyxy_px.shape == (0, 4) and records[-1].crowd.tolist() == [True]
    assert records[0].labels.tolist() == [4, 5] and [record.key for record in records[::-1]] == ["c", "bb", "a"]
    with pytest.raises(IndexError):
        records[3]


def test_some_records_are_sent_as_a_list_of_them() -> None:
    some = SomeRecords(table(), np.array([2, 0]))
    assert [record.key for record in some] == ["c", "a"] and [record.key for record in some[1:]] == ["a"]
    sent = pickle.loads(pickle.dumps(some))
    assert isinstance(sent, list) and [record.image_id for record in sent] == ["9", "7"]
