"""The decoded cache: gives back what was put in, to every process, for this set only."""

import dataclasses
from pathlib import Path

import numpy as np

from data.images.decode import decode
from data.loading.decoded_cache import DecodedCache
from data.shards.index import ShardIndex
from data.shards.read import ShardReader


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
