"""Class names from every kind of file, and what a data.yaml may not say."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from data.sources.parsing.yolo_layout import find_layout
from data.sources.yolo import read_yolo
from tests.data.sources.test_yolo import BOX, image, write

#: eight levels of ten aliases: as text it would have 10^8 words
ALIASES = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [{', '.join(['*' + a] * 10)}]\n" for a, b in pairwise("abcdefgh"))


@pytest.mark.parametrize("names", ["[no, 007]", "\n  0: no\n  1: 007", "{1: 007, 0: no}", "\n- no\n- 007"])
def test_names_stay_words(tmp_path: Path, names: str) -> None:
    (tmp_path / "data.yaml").write_text(f"train: images\nnames: {names}\nnc: 2\n")
    assert find_layout(tmp_path).names == {0: "no", 1: "007"}


def test_numbers_of_classes_may_have_gaps(tmp_path: Path) -> None:
    """As of converters that keep COCO's."""
    files: dict[str, str | bytes] = {"data.yaml": "train: images\nnames: {90: toothbrush, 3: car}\n"}
    root = write(tmp_path, files | {"images/a.jpg": image(), "labels/a.txt": BOX.replace("0", "90", 1)})
    found = read_yolo(root, ["train"])
    assert (found.classes, found.category_ids) == (("car", "toothbrush"), (3, 90))
    assert found.records[0].labels.tolist() == [1]


def test_every_line_of_a_list_is_a_class(tmp_path: Path) -> None:
    """An empty one would shift the classes after it; empty ones at the end mean nothing."""
    (tmp_path / "classes.txt").write_text("dog\ncat\n\n")
    assert find_layout(tmp_path).names == {0: "dog", 1: "cat"}
    (tmp_path / "classes.txt").write_text("dog\n \ncat\n")
    with pytest.raises(ValueError, match=r"classes\.txt:2: expected the name of class 1, found an empty line; name it"):
        find_layout(tmp_path)


def test_a_data_file_says_how_many_classes_its_list_has(tmp_path: Path) -> None:
    write(tmp_path, {"obj.data": "classes= 2\nnames = obj.names\n", "obj.names": "dog\n"})
    with pytest.raises(ValueError, match=r"obj\.data: expected classes=1, the number of names; found 2; correct it"):
        find_layout(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: 3", "expected names as a list, or as a map from numbers to names, found 3"),
        ("names: {0: a, x: b}", "expected names as a list, or as a map from numbers"),
        ("names: {0: a, 00: b}", "expected names as a list, or as a map from numbers"),
        ("names: [a, [b]]", "expected names as a list"),
        (f"{ALIASES}names: *h", "expected names as a list, or as a map from numbers to names, found [[["),
        (f"{ALIASES}names: [a]\nnc: *h", "expected nc=1, the number of names; found [[["),
        (f"{ALIASES}names: [a]\ntrain: *h", "expected folders or lists of images in train, found [[["),
        ("names: [a]\nnames: [b]", "found: the key names again"),
        ("names: {0: a, 0: b}", "found: the key 0 again"),
        ("names: [a]\nnc: 2", "expected nc=1, the number of names; found 2"),
        ("names: [a]\ntrain: {x: y}", "expected folders or lists of images in train, found"),
        ("[", "expected YAML with names, train and val, found: while parsing"),
        ("3", "expected names, train and val, found str"),
        ("!!python/object/apply:os.system [echo]", "expected names, train and val, found list"),
        ("a: " * 2_000_000, "expected YAML with names, train and val, found: 6,000,000 characters"),
    ],
)
def test_refused_yaml(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "data.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        find_layout(path)
    assert str(error.value).startswith(f"{path}: ") and len(str(error.value)) < 600


def test_a_path_too_long_for_a_file_system_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, {"data.yaml": f"train: {'x' * 5000}\nnames: [dog]\n"})
    with pytest.raises(ValueError, match=r"data\.yaml: expected train at .*x, found nothing; correct train") as error:
        read_yolo(tmp_path, ["train"])
    assert len(str(error.value)) < 900
