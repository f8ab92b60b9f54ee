"""The decoded cache: gives back what was put in, to every process, for this set only."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from data.images.files.decode import decode
from data.loading.config import DataConfig
from data.loading.filling.decoded_cache import DecodedCache
from data.loading.loader import Loader
from data.shards.index import ShardIndex
from data.shards.read import ShardReader
from tests.conftest import small_disk


def test_what_was_put_in_comes_out_in_every_process(index: ShardIndex, tmp_path: Path) -> None:
    ours, theirs = DecodedCache(index, tmp_path / "cache"), DecodedCache(index, tmp_path / "cache")
    with ShardReader(index) as reader:
        for sample in (0, 7, index.num_samples - 1):
            assert ours.get(sample) is None
            image = decode(reader.image(sample))
            ours.put(sample, image)
            for cache in (ours, theirs):
                kept = cache.get(sample)
                assert kept is not None
                np.testing.assert_array_equal(kept, image)
    assert theirs.get(1) is None


def test_an_image_of_another_size_than_the_index_says_is_not_kept(index: ShardIndex, tmp_path: Path) -> None:
    cache = DecodedCache(index, tmp_path)
    cache.put(0, np.zeros((3, 3, 3), np.uint8))
    assert cache.get(0) is None


def test_another_set_has_another_file(index: ShardIndex, tmp_path: Path) -> None:
    width, height = index.size_px(0)
    DecodedCache(index, tmp_path).put(0, np.zeros((height, width, 3), np.uint8))
    assert DecodedCache(dataclasses.replace(index, digest="0" * 64), tmp_path).get(0) is None


def test_a_full_disk_under_the_cache_ends_nothing(
    index: ShardIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small_disk(tmp_path, "1m") as small:
        cache = DecodedCache(index, small)
        images = {}
        for sample in range(index.num_samples):
            width, height = index.size_px(sample)
            images[sample] = np.full((height, width, 3), sample, np.uint8)
            cache.put(sample, images[sample])
        found = {sample: cache.get(sample) for sample in images}
        kept = [sample for sample, image in found.items() if image is not None]
        assert 0 < len(kept) < index.num_samples
        assert all(np.array_equal(np.asarray(found[sample]), images[sample]) for sample in kept)
        assert capsys.readouterr().err.count("data.decoded_cache takes no more images") == 1
        for page in itertools.count():  # until not even the list of what is stored has room
            try:
                (small / f"page{page}").write_bytes(bytes(4096))
            except OSError:
                break
        another = DecodedCache(dataclasses.replace(index, digest="0" * 64), small)
        another.put(0, images[0])
        assert another.get(0) is None
        assert capsys.readouterr().err.count("data.decoded_cache takes no more images") == 1


def test_a_link_in_place_of_the_cache_is_not_followed(index: ShardIndex, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("precious")
    DecodedCache(index, tmp_path / "cache")
    for path in (tmp_path / "cache").iterdir():
        path.unlink()
        path.symlink_to(mine)
    with pytest.raises(OSError, match="symbolic links"):
        DecodedCache(index, tmp_path / "cache")
    assert mine.read_text() == "precious"


def test_a_folder_that_is_refused_is_no_unreadable_image(
    index: ShardIndex, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> None:
        raise ValueError(f"{folder}: expected a folder of this user")

    monkeypatch.setattr("data.loading.filling.decoded_cache.private_folder", refuse)
    config = DataConfig(train="", val="", batch=2, sides=[32], workers=0, decoded_cache=str(tmp_path))
    loader = Loader(index, config, seed=0, rank=0, world_size=1, device=torch.device("cpu"))
    with pytest.raises(ValueError, match="expected a folder of this user"):
        next(loader.batches(0, 8))
