"""What lies on disk is read back as it was written, or refused with a reason."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data.files import sha256
from data.shards.index import ShardIndex
from tests.data.pictures import change_header, flip_byte


def test_a_shard_that_is_cut_short_is_found(copy: Path, index: ShardIndex) -> None:
    path = copy / index.shards[1].name
    size = path.stat().st_size
    os.truncate(path, size // 2)
    message = rf"{path.name}: the index says {size} bytes, found {size // 2}; copy the shard again or make"
    with pytest.raises(ValueError, match=message):
        ShardIndex.load(copy)


def test_a_missing_shard_is_found(copy: Path, index: ShardIndex) -> None:
    (copy / index.shards[0].name).unlink()
    with pytest.raises(ValueError, match=rf"{index.shards[0].name}: the index says \d+ bytes, the file is missing"):
        ShardIndex.load(copy)


def test_shards_of_another_version_are_refused(copy: Path) -> None:
    change_header(copy, version=1)
    with pytest.raises(ValueError, match=r"is of yolov2-shards version 1, this program reads yolov2-shards version 2"):
        ShardIndex.load(copy)


def test_changed_arrays_are_found(copy: Path) -> None:
    flip_byte(copy / "index.npz", 2000)
    with pytest.raises(ValueError, match=r"index\.npz is missing or does not match index\.json beside it"):
        ShardIndex.load(copy)
    (copy / "index.npz").unlink()
    with pytest.raises(ValueError, match=r"index\.npz is missing or does not match"):
        ShardIndex.load(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3", '{"format": "yolov2-shards"}'])
def test_an_index_that_is_none_is_refused(copy: Path, text: str) -> None:
    (copy / "index.json").write_text(text)
    with pytest.raises(ValueError, match=r"index\.json is not an index of shards; make the shards again"):
        ShardIndex.load(copy)


def test_a_folder_without_shards_is_refused_with_the_way_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"no shards at {tmp_path}.*`python -m data\.shards voc ROOT --split"):
        ShardIndex.load(tmp_path)


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
        ValueError, match=r"index\.npz: column \w+ is not as in docs/data\.md; make the shards"
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


def test_shards_may_still_be_on_their_way(copy: Path, index: ShardIndex) -> None:
    for shard in index.shards:
        (copy / shard.name).unlink()
    assert ShardIndex.load(copy, shards_there=False).digest == index.digest
