"""What is chosen of a source is the same whatever its format."""

from pathlib import Path

import numpy as np
import pytest

from data.sources.rules.choose import Choice, fraction_of
from data.sources.rules.collect import collect
from tests.data.sources.rules.test_collect import found


def test_choices_combine(tmp_path: Path) -> None:
    annotations = collect(found(tmp_path, 60), Choice(classes=["c", "a"], count=10))
    assert annotations.category_ids == (9, 3) and len(annotations.records) == 10
    assert annotations.source == "some all (2 of 3 classes, 10 of 60 images)"
    parts = [collect(found(tmp_path, 60), Choice(**{name: 0.3})) for name in ("hold_out", "held_out")]
    ids = [{record.image_id for record in part.records} for part in parts]
    assert len(ids[0] | ids[1]) == 60 and not ids[0] & ids[1] and 5 < len(ids[1]) < 35


def test_a_name_stands_for_its_part_whatever_its_unicode_form() -> None:
    assert fraction_of("e\u0301") == fraction_of("\u00e9") != fraction_of("e")
    assert 0.4 < np.mean([fraction_of(str(number)) for number in range(1000)]) < 0.6


def test_nothing_left_to_write(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected images, found none of 1 left by --classes, --val and --hold-out"):
        collect(found(tmp_path, 1), Choice(classes=["b"]))
