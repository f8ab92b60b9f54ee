"""Every fault of a set is found and named, whatever its digests say."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from data.shards.format.columns import COLUMNS
from data.shards.index import ShardIndex
from data.shards.verify import verify
from data.shards.writing.scan import index_shards
from data.wording import NUM_LISTED
from tests.data.pictures import change_header, flip_byte, jpeg, note, write_tar


def test_whole_shards_pass(copy: Path, index: ShardIndex) -> None:
    found = verify(copy, workers=1)
    assert found.digest == index.digest and found.num_samples == 53


def test_a_changed_byte_is_found(copy: Path, index: ShardIndex) -> None:
    name = index.shards[1].name
    flip_byte(copy / name, int(index.arrays["image_offsets"][int(index.shard_sizes[0])]) + 500)
    ShardIndex.load(copy)  # of the same length: only the digest tells
    with pytest.raises(ValueError, match=rf"1 fault\n  {name}: its bytes are not those that were written \(sha256"):
        verify(copy, workers=1)


def test_all_faults_are_listed(copy: Path, index: ShardIndex) -> None:
    for name in [shard.name for shard in index.shards[:2]]:
        flip_byte(copy / name, 100)
    with pytest.raises(ValueError, match=f"2 faults\n  {index.shards[0].name}.*\n  {index.shards[1].name}"):
        verify(copy, workers=1)


@pytest.mark.parametrize("name", [name for name in COLUMNS if name != "shards"])  # that one is refused at once
def test_arrays_that_describe_other_shards_are_found(copy: Path, name: str) -> None:
    """A consistent index over a tar it does not belong to: one value in the last shard is another one."""
    with np.load(copy / "index.npz") as stored:
        arrays = {column: stored[column] for column in stored.files}
    column = arrays[name].view(np.uint8 if arrays[name].dtype.kind in "Sb" else arrays[name].dtype)
    column.reshape(-1)[-2 if name == "object_starts" else -1] += 1
    np.savez(copy / "index.npz", **arrays)
    change_header(copy, arrays_sha256=hashlib.sha256((copy / "index.npz").read_bytes()).hexdigest())
    with pytest.raises(ValueError, match=rf"column {name} of index\.npz does not describe this tar; make the shards"):
        verify(copy, workers=1)


def test_images_of_tars_made_elsewhere_are_decoded(tmp_path: Path) -> None:
    """Their digests are those of the index, which did not look at the images."""
    files = {"whole.jpg": jpeg(), "cut.jpg": jpeg()[:-30], "empty.png": b"", "wide.jpg": jpeg(width=50)}
    write_tar(
        tmp_path / "a.tar",
        [(f"{n[:-4]}{end}", d) for n, i in files.items() for end, d in ((n[-4:], i), (".json", note()))],
    )
    index_shards(tmp_path, workers=1)
    with pytest.raises(ValueError, match=f"{tmp_path}: 3 faults") as error:
        verify(tmp_path, workers=1)
    assert [line.strip() for line in str(error.value).splitlines()[1:]] == [
        "a.tar/cut: not a usable JPEG: Premature end of JPEG file",
        "a.tar/empty: the file is empty",
        "a.tar/wide: 50x30 px, index (40, 30)",
    ]


def test_of_many_faults_some_are_listed(tmp_path: Path) -> None:
    write_tar(
        tmp_path / "a.tar", [(f"{n:02}{end}", d) for n in range(30) for end, d in ((".jpg", b""), (".json", note()))]
    )
    index_shards(tmp_path, workers=1)
    with pytest.raises(ValueError, match="30 faults") as error:
        verify(tmp_path, workers=1)
    assert str(error.value).count("the file is empty") == NUM_LISTED and str(error.value).endswith("...")
