"""The index of tars, whoever made them."""

import tarfile
from pathlib import Path

import pytest

from data.shards.format.header import MAX_CLASSES
from data.shards.read import ShardReader
from data.shards.writing.scan import index_shards
from tests.data.pictures import contents, jpeg, note, write_tar


def test_the_index_of_tars_made_elsewhere(tmp_path: Path) -> None:
    first = [("b.txt", b"a dog"), ("b.json", note(labels=["dog"], image_id="7", areas_px=[5])), ("b.jpeg", jpeg(1))]
    second = [("x/a.PNG", b"image"), ("x/a.json", note(boxes_xyxy_px=[], labels=[])), ("README", b"")]
    write_tar(tmp_path / "one.tar", [*first, ("c.jpg", jpeg(2)), ("c.json", note(difficult=[True]))])
    write_tar(tmp_path / "two.tar", second, tarfile.PAX_FORMAT)
    write_tar(tmp_path / "without.tar", [("README", b"")])
    index = index_shards(tmp_path, workers=1)
    assert [shard.name for shard in index.shards] == ["one.tar", "two.tar"] and index.shard_sizes.tolist() == [2, 1]
    assert [index.key(sample) for sample in range(3)] == ["b", "c", "x/a"]
    assert [index.image_id(sample) for sample in range(3)] == ["7", "c", "x/a"]
    assert index.classes == ("cat", "dog") and index.category_ids == (1, 2)
    assert index.arrays["labels"].tolist() == [1, 0] and index.arrays["areas_px"].tolist() == [5, 9 * 18]
    assert index.arrays["difficult"].tolist() == [False, True] and not index.arrays["crowd"].any()
    assert index.source == f"tars at {tmp_path.name}" and index.size_px(2) == (40, 30)
    with ShardReader(index) as reader:
        assert [reader.image(sample) for sample in range(3)] == [jpeg(1), jpeg(2), b"image"]


def test_the_classes_of_tars_made_elsewhere_can_be_given(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("a.jpg", b""), ("a.json", note())])
    with pytest.raises(
        ValueError, match=r"a\.tar: expected objects of the classes dog, ant; found cat; correct --classes"
    ):
        index_shards(tmp_path, ["dog", "ant"], workers=1)
    assert not (tmp_path / "index.json").exists()
    index = index_shards(tmp_path, ["dog", "cat"], workers=1)
    assert index.classes == ("dog", "cat") and index.arrays["labels"].tolist() == [1]


def test_the_index_does_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        for number in range(3):
            write_tar(tmp_path / name / "set" / f"{number}.tar", [(f"{number}.jpg", b""), (f"{number}.json", note())])
    index_shards(tmp_path / "one" / "set", workers=1)
    index_shards(tmp_path / "two" / "set", workers=2)
    assert contents(tmp_path / "one" / "set") == contents(tmp_path / "two" / "set")


def test_a_key_in_two_tars_is_refused(tmp_path: Path) -> None:
    for name in ("one.tar", "two.tar"):
        write_tar(tmp_path / name, [("a.jpg", b""), ("a.json", note())])
    with pytest.raises(
        ValueError, match=f"{tmp_path}: expected each key once, found 'a' again; rename one of its samples"
    ):
        index_shards(tmp_path, workers=1)


def test_a_sidecar_that_is_wrong_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("x/a.jpg", b""), ("x/a.json", b'{"boxes": []}')])
    with pytest.raises(ValueError, match=r"a\.tar: x/a\.json: Object missing required field `width`"):
        index_shards(tmp_path, workers=1)


@pytest.mark.parametrize("files", [[], [("README", b"")]])
def test_tars_without_samples_are_refused(tmp_path: Path, files: list[tuple[str, bytes]]) -> None:
    write_tar(tmp_path / "a.tar", files)
    with pytest.raises(ValueError, match=f"{tmp_path}: expected samples in the tars, found none"):
        index_shards(tmp_path, workers=1)


def test_a_folder_that_is_called_a_tar(tmp_path: Path) -> None:
    (tmp_path / "x.tar").mkdir()
    with pytest.raises(
        ValueError, match=r"x\.tar: expected a tar, found a folder or special file; rename or remove it"
    ):
        index_shards(tmp_path, workers=1)


def test_captions_are_no_class_names(tmp_path: Path) -> None:
    names = [f"caption {number}" for number in range(MAX_CLASSES + 1)]
    text = note(labels=names, boxes_xyxy_px=[[0, 0, 1, 1]] * len(names))
    write_tar(tmp_path / "a.tar", [("a.jpg", b""), ("a.json", text)])
    with pytest.raises(ValueError, match=r"expected up to 32,767 classes, found 32,768; are labels class names\?"):
        index_shards(tmp_path, workers=1)


def test_an_index_is_not_made_over_another_one(shards: Path) -> None:
    """It would lose what tars do not hold: the order of the classes, the source's ids, what was left out."""
    before = contents(shards / "val")
    with pytest.raises(ValueError, match=r"already has an index; remove its index\.json to make it again"):
        index_shards(shards / "val", workers=1)
    assert contents(shards / "val") == before
