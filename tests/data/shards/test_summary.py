"""What people are told about a set."""

from pathlib import Path

import pytest

from data.records import Findings
from data.shards.index import ShardIndex
from data.shards.summary import duplicates, inspect_set, names_of, summary
from data.shards.writing.write import write_shards
from tests.data.pictures import annotations


@pytest.fixture
def train(tmp_path: Path) -> ShardIndex:
    return write_shards(annotations(tmp_path / "images", 6), tmp_path / "train", workers=1)


def test_counts_and_findings(train: ShardIndex) -> None:
    findings = Findings()
    findings.add("odd things (why)", ["a", "b", "c", "d"])
    findings.add("odd things (why)", ["e"], 2000)
    lines = summary(train, findings).splitlines()
    assert lines[0] == f"{train.folder}: 6 images, 6 objects (2 difficult, 0 crowd) in 1 shard, from noise"
    assert lines[1:3] == [f"  {'cat':<20} {4:>8}", f"  {'dog':<20} {2:>8}"]
    assert lines[4] == "  odd things (why): 2,004 (a, b, c, ...)"
    assert summary(train, Findings()) == summary(train) == "\n".join(lines[:3])


def test_images_with_more_objects_than_slots(train: ShardIndex) -> None:
    findings = Findings()
    inspect_set(findings, train, 0)
    ((what, (count, _)),) = findings.found.items()
    assert what.startswith("images with more than the 0 objects of data.truth_slots") and count == 4
    findings = Findings()
    inspect_set(findings, train, 1)
    assert not findings.found  # of two objects one is difficult


def test_a_set_without_an_object_to_train_on(tmp_path: Path) -> None:
    findings = Findings()
    inspect_set(findings, write_shards(annotations(tmp_path / "images", 1), tmp_path / "out", workers=1), 50)
    assert list(findings.found) == ["sets without an object that can be trained on"]


def test_images_that_are_in_two_sets(tmp_path: Path, train: ShardIndex) -> None:
    given = annotations(tmp_path / "more", 9)
    given.records[:] = given.records[4:]
    val = write_shards(given, tmp_path / "val", workers=1)
    pairs = duplicates(val, train)
    assert {(val.image_id(mine), train.image_id(theirs)) for mine, theirs in pairs} == {("4", "4"), ("5", "5")}
    findings = Findings()
    inspect_set(findings, val, 50)
    assert findings.found["images that are, byte for byte, also in train beside it"][0] == 2
    (tmp_path / "train" / "index.npz").write_bytes(b"")
    (tmp_path / "val").rename(tmp_path / "subset")  # neither for training nor for evaluation by its name
    for name in ("val", "subset"):
        findings = Findings()
        inspect_set(findings, ShardIndex.load(tmp_path / "subset"), 50)
        assert not findings.found, name


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (None, None),
        ("a", ["a"]),
        ("no,007,cat/dog,valve [open]", ["no", "007", "cat/dog", "valve [open]"]),
        ('"a,b",c', ["a,b", "c"]),
    ],
)
def test_class_names_are_words(text: str | None, names: list[str] | None) -> None:
    assert names_of(text) == names


def test_names_on_several_lines_are_refused() -> None:
    with pytest.raises(ValueError, match=r"--classes: expected names with commas between them, found 'cat\\ndog'"):
        names_of("cat\ndog")
