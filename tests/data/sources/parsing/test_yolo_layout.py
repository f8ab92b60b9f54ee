"""The layouts in which YOLO sets come, and what a data.yaml may not say."""

import re
from pathlib import Path

import pytest

from data.sources.parsing.yolo_layout import find_layout, images_of, label_file
from data.sources.yolo import read_yolo
from tests.data.sources.test_yolo import BOX, image, write


def names_of(root: Path, split: str = "train") -> list[str]:
    return [name for name, _ in images_of(find_layout(root), split)]


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


@pytest.mark.parametrize(
    "train",
    [
        "images/train",
        "./images/train",
        "../images/train",
        "[images/train/one, images/train/two]",
        "train.txt",
        "images\\train",
    ],
)
def test_folders_and_lists(tmp_path: Path, train: str) -> None:
    files: dict[str, str | bytes] = {f"images/train/{name}": image() for name in ("one/a.JPG", "two/b.png")}
    files |= {"labels/train/one/a.txt": BOX, "data.yaml": f"train: {train}\nnames: [a]\n"}
    files["train.txt"] = f"./images/train/one/a.JPG\n{tmp_path}/images/train/two/b.png\r\n\n"
    root = write(tmp_path, files)
    found = images_of(find_layout(root), "train")
    assert {path.name for _, path in found} == {"a.JPG", "b.png"} and all(path.is_file() for _, path in found)
    assert label_file(found[0][1]) == root / "labels/train/one/a.txt" and label_file(found[1][1]) is None


def test_roboflow(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"data.yaml": "train: ../train/images\nval: ../valid/images\nnames: ['b']\nnc: 1\n"}
    for split in ("train", "valid"):
        files |= {f"{split}/images/a_jpg.rf.1.jpg": image(), f"{split}/labels/a_jpg.rf.1.txt": BOX}
    root = write(tmp_path, files)
    assert names_of(root) == names_of(root, "valid") == names_of(root / "data.yaml", "val") == ["a_jpg.rf.1"]
    assert label_file(images_of(find_layout(root), "train")[0][1]) == root / "train/labels/a_jpg.rf.1.txt"


def test_darknet(tmp_path: Path) -> None:
    """.data, .names and lists, with paths as seen from where darknet is started."""
    files: dict[str, str | bytes] = {"data/obj.data": "classes = 1\ntrain = data/train.txt\nnames = data/obj.names\n"}
    files |= {
        "data/obj.names": "no\n",
        "data/train.txt": "data/obj/a.jpg\n./data/obj/../obj/a.jpg\n",
        "data/obj/a.jpg": image(),
    }
    root = write(tmp_path, files | {"data/obj/a.txt": BOX})
    layout = find_layout(root / "data/obj.data")
    assert layout.names == {0: "no"}
    ((name, path),) = images_of(layout, "train")
    assert path == root / "data/obj/a.jpg" and name == "obj/a" and label_file(path) == root / "data/obj/a.txt"


def test_a_folder_with_classes_txt(tmp_path: Path) -> None:
    """As LabelImg leaves it."""
    root = write(tmp_path, {"classes.txt": "dog\ncat\n", "a.JPG": image(), "a.txt": BOX})
    assert find_layout(root).names == {0: "dog", 1: "cat"} and names_of(root, "all") == ["a"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: 3", "expected names as a list, or as a map from numbers to names, found 3"),
        ("names: {0: a, x: b}", "expected names as a list, or as a map from numbers"),
        ("names: {0: a, 00: b}", "expected names as a list, or as a map from numbers"),
        ("names: [a, [b]]", "expected names as a list"),
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


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere: expected a folder or a file data\.yaml, found none"):
        find_layout(tmp_path / "nowhere")
    (tmp_path / "data.yaml").write_text("train: images\nnames: [a]")
    with pytest.raises(ValueError, match=r"expected train at .*images, found nothing; correct train"):
        names_of(tmp_path)
    with pytest.raises(ValueError, match=r"expected a split test, found train, and no folder test or images/test"):
        names_of(tmp_path, "test")
    (tmp_path / "images").mkdir()
    with pytest.raises(ValueError, match=r"expected images in images, found none; correct train"):
        names_of(tmp_path)
    (tmp_path / "images" / "list.txt").write_text("nothing\n")
    (tmp_path / "data.yaml").write_text("train: images/list.txt\nnames: [a]")
    with pytest.raises(ValueError, match=r"list\.txt:1: expected the path of an image, found 'nothing'"):
        names_of(tmp_path)
