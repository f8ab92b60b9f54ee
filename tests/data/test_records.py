"""What every annotation format hands over."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from data.records import Record


def test_a_record_is_a_value_of_its_own() -> None:
    none = np.zeros(0)
    record = Record("k", "k", Path("k.jpg"), 3, 2, none.reshape(0, 4), none, none.astype(np.int16), none > 0, none > 0)
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.width = 4  # type: ignore[misc]
    assert record != dataclasses.replace(record)  # arrays do not compare to one truth value
