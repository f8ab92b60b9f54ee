"""index.npz is believed in nothing."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data.files import sha256
from data.shards.index import ShardIndex
from tests.data.pictures import change_header


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("keys", lambda keys: keys[:-1]),
        ("keys", lambda keys: keys.astype("U")),
        ("image_ids", lambda ids: ids[:, None]),
        ("shards", lambda shards: shards[::-1].copy()),
        ("shards", lambda shards: shards + 1),
        ("image_offsets", lambda offsets: offsets - 2**40),
        ("image_offsets", lambda offsets: offsets.astype(np.int32)),
        ("image_bytes", lambda lengths: lengths + 2**40),
        ("image_bytes", lambda lengths: np.full_like(lengths, 2**63 - 1)),
        ("image_bytes", lambda lengths: -lengths),
        ("widths", lambda widths: widths.astype(">i4")),
        ("object_starts", lambda starts: starts[1:]),
        ("object_starts", lambda starts: starts + 1),
        ("object_starts", lambda starts: np.where(np.arange(len(starts)) == 3, starts[-1], starts)),
        ("boxes_xyxy_px", lambda boxes: boxes.T),
        ("labels", lambda labels: labels + 20),
        ("labels", lambda labels: labels - 20),
        ("crowd", lambda crowd: crowd.astype(np.uint8)),
    ],
)
def test_columns_of_another_program_that_are_wrong(
    copy: Path, name: str, change: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    with np.load(copy / "index.npz") as stored:
        columns = {column: stored[column] for column in stored.files}
    np.savez(copy / "index.npz", **(columns | {name: change(columns[name])}))
    change_header(copy, arrays_sha256=sha256(copy / "index.npz"))
    with pytest.raises(
        ValueError, match=r"index\.npz: column \w+ is not as in docs/data\.md.*; make the shards"
    ) as error:
        ShardIndex.load(copy)
    assert f"column {name} " in str(error.value)


@pytest.mark.parametrize("name", ["labels", None])
def test_arrays_of_another_program_that_are_none(copy: Path, name: str | None) -> None:
    if name:
        with np.load(copy / "index.npz") as stored:
            np.savez(copy / "index.npz", **{column: stored[column] for column in stored.files if column != name})
    else:
        (copy / "index.npz").write_bytes(b"PK\x03\x04 and no more")
    change_header(copy, arrays_sha256=sha256(copy / "index.npz"))
    with pytest.raises(
        ValueError, match=r"index\.npz: expected arrays as in docs/data\.md, found: .*; make the shards"
    ):
        ShardIndex.load(copy)


def change(copy: Path, **columns: NDArray[Any]) -> None:
    """Another index.npz, with the digest that says that all is well."""
    with np.load(copy / "index.npz") as stored:
        np.savez(copy / "index.npz", **({column: stored[column] for column in stored.files} | columns))
    change_header(copy, arrays_sha256=sha256(copy / "index.npz"))


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
        ("image_ids", b"\xff", "sample 1 has"),
        ("image_ids", b"", "sample 1 has b''"),
    ],
)
def test_values_are_refused_by_column_and_sample(
    copy: Path, index: ShardIndex, name: str, value: object, shown: str
) -> None:
    column = index.arrays[name].copy()
    column[index.objects(1).start if len(column) == len(index.arrays["labels"]) else 1] = value
    change(copy, **{name: column})
    with pytest.raises(ValueError, match=re.escape(f"index.npz: column {name} is not as in docs/data.md: {shown}")):
        ShardIndex.load(copy)


def test_arrays_that_would_grow_are_refused_before_they_do(copy: Path, index: ShardIndex) -> None:
    """Compressed zeros: a million times as many bytes as the file has."""
    np.savez_compressed(copy / "index.npz", **index.arrays)
    change_header(copy, arrays_sha256=sha256(copy / "index.npz"))
    with pytest.raises(ValueError, match=r"index\.npz: expected arrays as in docs/data\.md, found: .* is compressed"):
        ShardIndex.load(copy)
    change(copy, keys=np.zeros(index.num_samples, "S3000"))
    with pytest.raises(ValueError, match=r"found: keys\.npy is compressed or too large: 159,"):
        ShardIndex.load(copy)
