"""A file that is written part by part is the one that numpy writes at once."""

from pathlib import Path

import numpy as np
import pytest

from data.shards.writing.pack import Packing


def test_the_bytes_are_those_of_numpy(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    whole = {
        "keys": np.array([b"a", b"bcd", b"", b"e"] * 5, "S7"),
        "labels": rng.integers(0, 9, 20).astype(np.int16),
        "crowd": rng.random(20) < 0.5,
        "boxes_xyxy_px": rng.random((20, 4)),
        "left_out": np.arange(20),
    }
    with Packing(tmp_path / "index.npz") as packing:
        for part in (slice(0, 3), slice(3, 3), slice(3, 20)):
            packing.add({name: column[part] for name, column in whole.items()})
        np.testing.assert_array_equal(packing.column("labels"), whole["labels"], strict=True)
        packing.pack("left_out")
    np.savez(tmp_path / "numpy.npz", **{name: whole[name] for name in sorted(whole) if name != "left_out"})
    assert (tmp_path / "index.npz").read_bytes() == (tmp_path / "numpy.npz").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"index.npz", "numpy.npz"}


def test_columns_without_rows(tmp_path: Path) -> None:
    with Packing(tmp_path / "index.npz") as packing:
        packing.add({"boxes": np.empty((0, 4)), "labels": np.empty(0, np.int16)})
        packing.pack()
    np.savez(tmp_path / "numpy.npz", boxes=np.empty((0, 4)), labels=np.empty(0, np.int16))
    assert (tmp_path / "index.npz").read_bytes() == (tmp_path / "numpy.npz").read_bytes()


def test_what_is_interrupted_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Packing(tmp_path / "index.npz") as packing:
            packing.add({"a": np.zeros(3)})
            packing.column("b")

    with pytest.raises(KeyError):
        interrupted()
    assert not list(tmp_path.iterdir())
