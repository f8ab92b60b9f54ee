"""What two sets have in common that they should not."""

from pathlib import Path

from data.shards.index import ShardIndex
from data.shards.writing.write import write_shards
from tests.data.pictures import annotations
from train.checking.sets import shared_images


def test_images_of_two_sets_are_compared_by_their_bytes(tmp_path: Path, index: ShardIndex) -> None:
    """Sets of two commands, in folders and under names that say nothing."""
    for name, count in (("a", 6), ("deep/er/b", 4)):
        (tmp_path / name).mkdir(parents=True)
        pictures = annotations(tmp_path / f"{count} pictures", count)
        for record in pictures.records if name == "a" else []:
            object.__setattr__(record, "image_id", f"IMG_{record.image_id}")
        write_shards(pictures, tmp_path / name, workers=1)
    one, other = (ShardIndex.load(tmp_path / name) for name in ("a", "deep/er/b"))
    said = shared_images(one, other)
    assert said is not None and said.startswith(f"4 images of 4 in {other.folder}, byte for byte, also in {one.folder}")
    assert "(0 = IMG_0, 1 = IMG_1, 2 = IMG_2, ...)" in said
    assert shared_images(one, index) is None
