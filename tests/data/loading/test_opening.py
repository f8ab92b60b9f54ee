"""Which sets are taken; tests/data/remote has those from elsewhere."""

from pathlib import Path

import pytest

from data.loading.opening import open_shards
from data.shards.index import ShardIndex
from data.shards.writing.scan import index_shards
from tests.data.pictures import jpeg, note, write_tar


def test_classes_of_the_config_must_be_those_of_the_shards(shards: Path, index: ShardIndex) -> None:
    folder = str(shards / "train")
    assert open_shards(folder, None, None).digest == index.digest
    assert open_shards(folder, list(index.classes), None).digest == index.digest
    for classes in (["cat", "dog"], list(index.classes[::-1]), list(index.classes[:-1])):
        with pytest.raises(ValueError, match=r"data\.classes .* make the shards with these --classes") as error:
            open_shards(folder, classes, None)
        assert ", ".join(classes) in str(error.value) and ", ".join(index.classes) in str(error.value)


def test_shards_without_classes_are_refused_in_words(tmp_path: Path) -> None:
    write_tar(tmp_path / "one.tar", [("a.jpg", jpeg()), ("a.json", note(boxes_xyxy_px=[], labels=[]))])
    index_shards(tmp_path, workers=1)
    with pytest.raises(ValueError, match=f"the shards at {tmp_path} hold no classes; expected cat, as data"):
        open_shards(str(tmp_path), ["cat"], None)
