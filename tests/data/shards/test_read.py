"""Images come out of the tars by number."""

import dataclasses
import errno
import io
import os
import pickle
import tarfile
from pathlib import Path

import pytest

import data.shards.read
from data.shards.format.tar import entries, is_header_of
from data.shards.index import ShardIndex
from data.shards.read import ShardReader


def test_a_tar_that_ends_early_is_named_when_it_is_read(copy: Path, index: ShardIndex) -> None:
    path, last = copy / index.shards[0].name, int(index.shard_sizes[0]) - 1
    os.truncate(path, int(index.arrays["image_offsets"][last]) + 512)
    reader = ShardReader(dataclasses.replace(index, folder=copy))
    with reader, pytest.raises(ValueError, match=rf"{path.name} ends after 512 of \d+ bytes of the image"):
        reader.image(last)


def test_a_shard_with_other_contents_is_named_when_it_is_read(copy: Path, index: ShardIndex) -> None:
    """Another set of the same size was put in its place, perhaps while a run reads it."""
    path, offset = copy / index.shards[0].name, int(index.arrays["image_offsets"][1])
    renamed = bytearray(path.read_bytes())
    renamed[offset - 512 : offset - 509] = b"odd"
    path.write_bytes(renamed)
    with ShardReader(dataclasses.replace(index, folder=copy)) as reader:
        assert reader.image(0)
        with pytest.raises(ValueError, match=f"{path.name} has something else in place of the image: replaced"):
            reader.image(1)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize("folder", ["", "images/", "images/" + "f" * 90 + "/"])
def test_images_of_anybodys_tar_are_recognised(tmp_path: Path, form: int, folder: str) -> None:
    """Long names are cut, split or moved to a header of their own."""
    tar = tmp_path / "a.tar"
    with tarfile.open(tar, "w", format=form) as archive:
        for name in ("one.jpg", "one.json"):
            member = tarfile.TarInfo(folder + name)
            member.size = 1000
            archive.addfile(member, io.BytesIO(bytes(1000)))
    (entry,) = entries(tar)
    header = tar.read_bytes()[entry.image_offset - 512 : entry.image_offset]
    assert is_header_of(header, entry.key, 1000)
    assert not is_header_of(header, entry.key, 999)
    assert not is_header_of(bytes(512), entry.key, 0)


def test_a_reader_in_another_process_opens_its_own_files(index: ShardIndex) -> None:
    with ShardReader(index) as reader:
        first = reader.image(0)
        again = pickle.loads(pickle.dumps(reader))
    with again:
        assert again.image(0) == first


def num_open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_reader_of_many_shards_keeps_few_open(index: ShardIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set may have more shards than a process may have files."""
    with ShardReader(index) as reader:
        images = [reader.image(sample) for sample in range(index.num_samples)]
    monkeypatch.setattr(data.shards.read, "MAX_OPEN", 2)
    before = num_open_files()
    with ShardReader(index) as reader:
        for sample in [*range(index.num_samples), *reversed(range(index.num_samples))]:
            assert reader.image(sample) == images[sample]
            assert num_open_files() <= before + 2
    assert num_open_files() == before and len(index.shards) > 2


def test_a_reader_lives_with_fewer_open_files(index: ShardIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the process may have no more, a shard is closed for the next one; no image is taken for unreadable."""
    with ShardReader(index) as reader:
        images = [reader.image(sample) for sample in range(index.num_samples)]
    before, really_open = num_open_files(), os.open

    def open_two(path: Path, flags: int) -> int:
        if num_open_files() >= before + 2:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return really_open(path, flags)

    monkeypatch.setattr("os.open", open_two)
    with ShardReader(index) as reader:
        assert [reader.image(sample) for sample in range(index.num_samples)] == images and len(index.shards) > 2


def test_a_bad_block_is_an_unreadable_image(index: ShardIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("os.pread", fail)
    with (
        ShardReader(index) as reader,
        pytest.raises(ValueError, match=r"shard-0+\.tar cannot be read: Input/output error"),
    ):
        reader.image(0)
