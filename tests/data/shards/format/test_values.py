"""What another program wrote into index.npz is believed in nothing."""

import re
from pathlib import Path

import numpy as np
import pytest

import data.shards.format.values
from data.shards.index import ShardIndex
from tests.data.shards.format.test_columns import change


@pytest.mark.parametrize("block", [1, 7, 1 << 14])
@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("boxes_xyxy_px", [np.nan, 0, 1, 1], "sample 1 has [nan, 0.0, 1.0, 1.0]"),
        ("boxes_xyxy_px", [0, 0, np.inf, 1], "sample 1 has [0.0, 0.0, inf, 1.0]"),
        ("boxes_xyxy_px", [0, 0, 1e300, 1], "sample 1 has [0.0, 0.0, 1e+300, 1.0]"),
        ("boxes_xyxy_px", [5, 0, 5, 1], "sample 1 has [5.0, 0.0, 5.0, 1.0]"),
        ("areas_px", -1, "sample 1 has -1.0"),
        ("areas_px", np.nan, "sample 1 has nan"),
        ("labels", 99, "sample 1 has 99"),
        ("widths", 0, "sample 1 has 0"),
        ("heights", 70_000, "sample 1 has 70000"),
        ("image_bytes", -1, "sample 1 has -1"),
        ("keys", b"a b", "sample 1 has b'a b'"),
        ("keys", b"a\0b", "sample 1 has b'a\\x00b'"),
        ("keys", b"", "sample 1 has b''"),
        ("image_ids", b"\xff", "sample 1 has"),
        ("image_ids", b"", "sample 1 has b''"),
    ],
)
def test_values_are_refused_by_column_and_sample(
    copy: Path, index: ShardIndex, monkeypatch: pytest.MonkeyPatch, name: str, value: object, shown: str, block: int
) -> None:
    monkeypatch.setattr(data.shards.format.values, "BLOCK", block)
    column = index.arrays[name].copy()
    column[index.objects(1).start if len(column) == len(index.arrays["labels"]) else 1] = value
    change(copy, **{name: column})
    with pytest.raises(ValueError, match=re.escape(f"index.npz: column {name} is not as in docs/data.md: {shown}")):
        ShardIndex.load(copy)


@pytest.mark.parametrize("text", ["0012", "K\u00e4fer 1", "\u732b" * 100, "9.00\u202fAM"])
def test_ids_may_be_any_printable_text(copy: Path, index: ShardIndex, text: str) -> None:
    ids = index.arrays["image_ids"].astype("S400")
    ids[2] = text.encode()
    change(copy, image_ids=ids)
    assert ShardIndex.load(copy).image_id(2) == text
