"""The layouts in which YOLO sets come."""

from pathlib import Path

import pytest

from data.sources.parsing.yolo_images import images_of, label_file
from data.sources.parsing.yolo_layout import find_layout
from tests.data.sources.test_yolo import BOX, image, write


def names_of(root: Path, split: str = "train") -> list[str]:
    return [name for name, _ in images_of(find_layout(root), split)]


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


@pytest.mark.parametrize("listing", ["labels/classes.txt", "train/_darknet.labels"])
def test_lists_of_classes_beside_labels(tmp_path: Path, listing: str) -> None:
    """As Label Studio and Roboflow leave them."""
    root = write(tmp_path, {listing: "dog\n", "images/a.jpg": image(), "labels/a.txt": BOX, "train/b.jpg": image()})
    assert find_layout(root).names == {0: "dog"} and names_of(root, "all") == ["a"] and names_of(root) == ["b"]


@pytest.mark.parametrize("file", ["data.yaml", "obj.data"])
def test_cvat(tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exports name a folder data/ that they do not have."""
    root = write(
        tmp_path, {"obj.names": "dog\n", "train.txt": "data/images/train/a.jpg\n", "images/train/a.jpg": image()}
    )
    text = {"data.yaml": "path: .\ntrain: train.txt\nnames: {0: dog}\n"}
    text["obj.data"] = "classes = 1\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n"
    (root / file).write_text(text[file])
    monkeypatch.chdir(root)
    for place in (root / file, Path(file)):
        assert find_layout(place).names == {0: "dog"}
        ((name, path),) = images_of(find_layout(place), "train")
        assert (name, path.resolve()) == ("train/a", root.resolve() / "images/train/a.jpg")


@pytest.mark.parametrize("base", ["sets/one", "sets\\one", "../sets/one"])
def test_the_path_of_a_set_is_below_its_file_or_where_the_program_was_started(
    tmp_path: Path, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: dict[str, str | bytes] = {"sets/one/images/train/a.jpg": image(), "sets/one/labels/train/a.txt": BOX}
    write(tmp_path, files | {"configs/data.yaml": f"path: {base}\ntrain: images/train\nnames: [dog]\n"})
    monkeypatch.chdir(tmp_path)
    assert names_of(Path("configs/data.yaml")) == ["a"] and names_of(Path("configs/data.yaml"), "all") == ["train/a"]


def test_a_path_of_another_machine(tmp_path: Path) -> None:
    text = "path: /content/sets/one\ntrain: images/train\nnames: [dog]\n"
    write(tmp_path, {"data.yaml": text, "images/train/a.jpg": image()})
    assert names_of(tmp_path) == ["a"] and names_of(tmp_path, "all") == ["train/a"]


@pytest.mark.parametrize(("pictures", "labels"), [("images", "labels"), ("Images", "Labels"), ("JPEGImages", "labels")])
@pytest.mark.parametrize("suffix", [".txt", ".TXT"])
def test_labels_whatever_the_case(tmp_path: Path, pictures: str, labels: str, suffix: str) -> None:
    root = write(tmp_path, {f"{pictures}/one/a.JPG": image(), f"{labels}/one/a{suffix}": BOX})
    assert label_file(root / f"{pictures}/one/a.JPG") == root / f"{labels}/one/a{suffix}"


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
