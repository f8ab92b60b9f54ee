"""What every annotation format hands over."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from data.records import NUM_LISTED, Findings, Record, listed


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


def test_of_many_things_some_are_listed() -> None:
    assert listed(["a", "b"]) == "\n  a\n  b"
    assert listed(range(20)).count("\n") == NUM_LISTED + 1 and listed(range(20)).endswith("\n  ...")
