"""What lies on disk is read back as it was written, or refused with a reason."""

import os
import pickle
from multiprocessing import get_context
from pathlib import Path

import pytest

import data.shards.index
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
    with pytest.raises(ValueError, match=r"is yolov2-shards version 1, this program reads yolov2-shards version 2"):
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


def test_shards_may_still_be_on_their_way(copy: Path, index: ShardIndex) -> None:
    for shard in index.shards:
        (copy / shard.name).unlink()
    assert ShardIndex.load(copy, shards_there=False).digest == index.digest


def test_another_process_gets_the_name_of_the_folder_alone(index: ShardIndex) -> None:
    sent = pickle.dumps(index)
    assert len(sent) < 500
    with get_context("forkserver").Pool(1) as pool:
        there = pool.apply(_columns_of, (index,))
    assert there == {name: column.tolist() for name, column in index.arrays.items()}


def _columns_of(index: ShardIndex) -> dict[str, list[object]]:
    return {name: column.tolist() for name, column in index.arrays.items()}


def test_a_set_that_was_replaced_meanwhile_is_not_taken_for_the_old_one(copy: Path) -> None:
    sent = pickle.dumps(ShardIndex.load(copy))
    change_header(copy, source="another")
    with pytest.raises(ValueError, match=r"index\.json was replaced while in use; start again"):
        pickle.loads(sent)


def test_where_a_set_is_from_is_one_printable_line(copy: Path) -> None:
    """It has names of files, which may hold anything, and goes into comments of configs."""
    change_header(copy, source="voc Käfer\u3000図\n\x1b[2J\udcff")
    assert ShardIndex.load(copy).source == r"voc Käfer　図\n\x1b[2J\udcff"


@pytest.mark.parametrize("block", [1, 7, 1 << 16])
def test_objects_that_are_trained_on_are_counted(
    index: ShardIndex, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(data.shards.index, "BLOCK", block)
    ignored = index.arrays["difficult"] | index.arrays["crowd"]
    expected = [int((~ignored[index.objects(sample)]).sum()) for sample in range(index.num_samples)]
    assert index.trained_per_image().tolist() == expected and ignored.any()


def test_an_index_that_is_written_to_while_it_is_mapped_is_refused(copy: Path) -> None:
    index, path = ShardIndex.load(copy), copy / "index.npz"
    content = path.read_bytes()
    index.require_unchanged()
    os.utime(path, (1e9, 1e9))
    index.require_unchanged()  # the same bytes
    with path.open("r+b") as file:
        file.write(content[::-1])
    with pytest.raises(ValueError, match=r"index\.npz was written to while in use; put the set .* back"):
        index.require_unchanged()
    path.unlink()
    index.require_unchanged()  # what is mapped exists until nobody needs it
    path.write_bytes(content[::-1])
    index.require_unchanged()  # another file
