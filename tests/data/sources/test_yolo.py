"""YOLO's text files: the boxes that other programs meant, whatever the layout; the rest refused by file and line."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data.sources.rules.choose import Choice
from data.sources.yolo import read_labels, read_yolo

BOX = "0 0.5 0.25 0.2 0.5"  # of 100x80: 40, 0, 60, 40


def image(width: int = 100, height: int = 80, orientation: int | None = None) -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    if orientation:
        exif[0x0112] = orientation
    Image.new("RGB", (width, height)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def write(root: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two splits of two images each, an image without a label file, one with an empty one."""
    files: dict[str, str | bytes] = {"data.yaml": "path: .\ntrain: images/train\nval: images/val\nnames: [no, '007']\n"}
    for split in ("train", "val"):
        for name in "ab":
            files[f"images/{split}/{name}.jpg"] = image()
        files[f"labels/{split}/a.txt"] = f"{BOX}\n\n1 0.1 0.1 0.9 0.1 0.5 0.4\n"
    return write(tmp_path, files | {"labels/val/b.txt": ""})


def test_boxes_and_polygons_become_edges(root: Path) -> None:
    found = read_yolo(root, ["train"])
    assert (found.source, found.classes, found.category_ids) == ("yolo train", ("no", "007"), (1, 2))
    first, second = found.records
    assert (first.key, first.image_id, first.width, first.height) == ("a", "a", 100, 80)
    np.testing.assert_allclose(first.boxes_xyxy_px, [[40, 0, 60, 40], [10, 8, 90, 32]])
    assert first.labels.tolist() == [0, 1] and second.labels.tolist() == []
    np.testing.assert_allclose(first.areas_px, [800, 80 * 24])
    assert found.findings.lines() == [f"images without a label file (background): 1 ({root / 'images/train/b.jpg'})"]
    assert read_yolo(root, ["val"]).findings.lines() == []


def test_the_same_choice_as_of_other_formats(root: Path) -> None:
    found = read_yolo(root, ["train"], Choice(classes=["007"]))
    assert found.classes == ("007",) and found.dropped == {"objects of other classes": 1}
    assert [len(record.labels) for record in found.records] == [1, 0]
    with pytest.raises(ValueError, match="expected --classes from no, 007, each once; found False"):
        read_yolo(root, ["train"], Choice(classes=["False"]))
    (root / "labels/train/a.txt").write_text("0 0.5 0.5 0 0.1")
    with pytest.raises(
        ValueError, match=r"found 1 other;.*--drop-degenerate\n.*a\.txt: line 1 \(no\) \[50, 36, 50, 44\]"
    ):
        read_yolo(root, ["train"])
    assert read_yolo(root, ["train"], Choice(drop_degenerate=True)).dropped == {"degenerate boxes": 1}


@pytest.mark.parametrize(("turned", "size"), [(True, (80, 100)), (False, (100, 80))])
def test_fractions_are_of_the_image_as_it_is_shown(root: Path, turned: bool, size: tuple[int, int]) -> None:
    (root / "images/train/a.jpg").write_bytes(image(orientation=6))
    record = read_yolo(root, ["train"], turned=turned).records[0]
    assert (record.width, record.height) == size
    np.testing.assert_allclose(record.boxes_xyxy_px[0], np.array([0.4, 0, 0.6, 0.5]) * (*size, *size))


def test_boxes_beyond_the_border_are_remarked_on(root: Path) -> None:
    (root / "labels/train/a.txt").write_text("0 0.9 0.5 0.4 0.5\n0 1.0000001 0.5 0.1 0.1")
    found = read_yolo(root, ["train"])
    np.testing.assert_allclose(found.records[0].boxes_xyxy_px, [[70, 20, 100, 60], [95, 36, 100, 44]], atol=1e-4)
    assert "boxes of 2 that lose more than a tenth" in found.findings.lines()[1]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0.5 0.5 0.1 0.1", "expected a class from 0 to 1, of the 2 names, found 2; correct the line or the names"),
        ("-1 0.5 0.5 0.1 0.1", "found -1"),
        ("0.5 0.5 0.5 0.1 0.1", "found 0.5"),
        ("cat 0.5 0.5 0.1 0.1", "expected numbers, found 'cat 0.5"),
        ("0 nan 0.5 0.1 0.1", "expected numbers, found '0 nan"),
        ("0 1e999 0.5 0.1 0.1", "expected numbers, found '0 1e999"),
        ("0 0.5 0.5 0.1", "expected class, x, y, width, height, or a polygon of at least three points; found 4 num"),
        ("0 0.5 0.5 0.1 0.1 0.9", "found 6 numbers"),
        ("0", "found 1 number;"),
        ("0 50 40 20 30", "expected fractions of the image, found '0 50 40 20 30'; divide px by the image's width and"),
        ("0 0.5 0.5 -0.1 0.1", "expected fractions of the image"),
    ],
)
def test_lines_that_are_refused(root: Path, line: str, message: str) -> None:
    path = root / "labels/train/a.txt"
    path.write_text(f"{BOX}\n{line}\n")
    with pytest.raises(ValueError, match=re.escape(f"{path}:2: ") + ".*" + re.escape(message)):
        read_yolo(root, ["train"])


def test_lines_of_one_length_may_be_poses(root: Path) -> None:
    """Keypoints without visibility, or a confidence and the number of a track, would pass for polygons."""
    pose = "0 0.5 0.5 0.2 0.2 0.45 0.45 0.5 0.55 0.51 0.5\n"
    what = (
        "lines of 10 numbers after the class, all of the set, read as polygons (poses? kpt_shape): 2 (data.yaml, ...)"
    )
    (root / "labels/train/a.txt").write_text(pose * 2)
    assert what in read_yolo(root, ["train"]).findings.lines()
    (root / "labels/train/a.txt").write_text(pose + BOX)
    assert not any("polygons" in line for line in read_yolo(root, ["train"]).findings.lines())
    (root / "labels/train/a.txt").write_text(pose.replace("0.45", "2"))
    with pytest.raises(ValueError, match=r"divide px by .*, or, for poses, set kpt_shape in data\.yaml"):
        read_yolo(root, ["train"])


def test_labels_of_poses_begin_with_a_box(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("0 0.5 0.5 0.2 0.2 0.1 0.1 2 0.3 0.3 1\n")
    ((number, label, box, _),) = read_labels(path, {0: 0}, box_only=True)
    assert (number, label) == (1, 0) and box == pytest.approx((0.4, 0.4, 0.6, 0.6))


def test_an_image_that_cannot_be_read_is_left_to_the_sharder(root: Path) -> None:
    (root / "images/train/b.jpg").write_bytes(b"nothing")
    assert len(read_yolo(root, ["train"]).records) == 2


def test_labels_without_an_image_are_counted(root: Path) -> None:
    """As of pictures that no reader takes; not so notes and lists beside labels."""
    files: dict[str, str | bytes] = {"labels/train/c.txt": BOX, "images/train/c.heic": b"", "labels/train/d.txt": ""}
    write(root, files | {"labels/train/notes.txt": "3 of the pictures are dark\n", "labels/val/e.txt": BOX})
    line = f"label files without an image (left out): 1 ({root / 'labels/train/c.txt'})"
    assert line in read_yolo(root, ["train"]).findings.lines()


def test_images_of_one_name_in_two_folders_have_ids_of_their_own(root: Path) -> None:
    (root / "data.yaml").write_text("train: [images/train, images/val, more]\nnames: [no, '007']\n")
    write(root, {"more/a.jpg": image()})
    ids = [record.image_id for record in read_yolo(root, ["train"]).records]
    assert ids == ["a", "b", "images/val/a.jpg", "images/val/b.jpg", "more/a.jpg"]


def test_images_that_are_nowhere(root: Path) -> None:
    (root / "data.yaml").write_text("train: list.txt\nnames: [no]\n")
    (root / "list.txt").write_text("/elsewhere/a.jpg\n")
    with pytest.raises(ValueError, match=r"expected 1 image, 1 missing; unpack them"):
        read_yolo(root, ["train"])


def test_labels_that_are_nowhere(root: Path) -> None:
    for path in (root / "labels/train").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"expected labels beside .*a\.jpg, or in labels/ .*found none for 2 images"):
        read_yolo(root, ["train"])
