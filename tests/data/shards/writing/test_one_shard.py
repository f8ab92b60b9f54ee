"""One tar and the notes beside it; more of it through whole sets: test_write.py."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from data.shards.writing import one_shard
from data.shards.writing.one_shard import Pixels, is_written, write_shard
from data.shards.writing.scan import read_scan, scan_shard
from tests.data.pictures import annotations


def test_what_is_there_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, path = annotations(tmp_path / "images", 4), tmp_path / "shard-000000.tar"
    given.records[2].image.write_bytes(b"none")
    found, faults = write_shard(path, given.records, given.classes, Pixels())
    assert is_written(path) and len(faults) == 1 and "image2.jpg: " in faults[0]
    monkeypatch.setattr(one_shard, "_prepared", None)  # no image is read again
    again, same = write_shard(path, given.records, given.classes, Pixels())
    assert again.found == found.found and same == faults
    path.with_suffix(".columns").unlink()
    assert not is_written(path)
    with pytest.raises(TypeError):
        write_shard(path, given.records, given.classes, Pixels())


def test_the_notes_are_a_scan_of_the_tar(tmp_path: Path) -> None:
    given, path = annotations(tmp_path / "images", 4), tmp_path / "shard-000000.tar"
    records = [dataclasses.replace(record, image_id=f"K\u00e4fer {record.key}") for record in given.records]
    write_shard(path, records, given.classes, Pixels())
    noted, scanned = read_scan(path.with_suffix(".columns")), scan_shard(path)
    assert (noted.shard, noted.names) == (scanned.shard, scanned.names)
    np.testing.assert_array_equal(noted.name_of_object, scanned.name_of_object)
    for name, column in scanned.columns.items():
        np.testing.assert_array_equal(noted.columns[name], column, strict=True)
