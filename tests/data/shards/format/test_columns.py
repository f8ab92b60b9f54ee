"""index.npz is believed in nothing."""

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data.files import sha256
from data.shards.format.columns import map_columns, release_pages
from data.shards.format.header import parse_header
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


def test_arrays_that_would_grow_are_refused_before_they_do(copy: Path, index: ShardIndex) -> None:
    """Compressed zeros: a million times as many bytes as the file has."""
    np.savez_compressed(copy / "index.npz", **index.arrays)
    change_header(copy, arrays_sha256=sha256(copy / "index.npz"))
    with pytest.raises(ValueError, match=r"index\.npz: expected arrays as in docs/data\.md, found: .* is compressed"):
        ShardIndex.load(copy)
    change(copy, keys=np.zeros(index.num_samples, "S3000"))
    with pytest.raises(ValueError, match=r"found: keys\.npy is compressed or too large: 159,"):
        ShardIndex.load(copy)


def test_columns_are_views_of_the_file(shards: Path, index: ShardIndex) -> None:
    """As numpy reads them; of one mapping, and not to be written to."""
    path = shards / "train" / "index.npz"
    header = parse_header((shards / "train" / "index.json").read_bytes(), path)
    columns = map_columns(path, header)
    with np.load(path) as stored:
        assert set(stored.files) == set(columns)
        for name, column in columns.items():
            np.testing.assert_array_equal(column, stored[name], strict=True)
            assert not column.flags.writeable and not column.flags.owndata
    assert b"index.npz" in Path("/proc/self/maps").read_bytes()


def test_a_member_that_says_it_lies_elsewhere_is_refused(copy: Path) -> None:
    data = (copy / "index.npz").read_bytes()
    place = data.index(b"PK\3\4", 100)  # of the second member
    for spoilt in (data[:place] + b"PK\1\2" + data[place + 4 :], data[: place + 26] + b"\xff\xff" + data[place + 28 :]):
        (copy / "index.npz").write_bytes(spoilt)
        change_header(copy, arrays_sha256=sha256(copy / "index.npz"))
        with pytest.raises(ValueError, match=r"index\.npz: expected arrays as in docs/data\.md, found: "):
            ShardIndex.load(copy)


def test_pages_that_were_read_do_not_stay_with_the_process(tmp_path: Path) -> None:
    size = 64 * 2**20
    (tmp_path / "column").write_bytes(b"\1" * size)
    with (tmp_path / "column").open("rb") as file:
        column = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.int64).reshape(-1, 4)
    before = resident_bytes()
    total = column.sum()
    assert resident_bytes() - before > 0.9 * size
    release_pages(column)
    assert resident_bytes() - before < 0.1 * size
    assert column.sum() == total
    release_pages(np.ones(3))  # one that is not mapped is left alone


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE
