"""Each format is read back by what reads it elsewhere."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from data.sources.voc import parse_annotation
from tests.conftest import small_disk
from train.detection.head import ImageDetections
from train.inference.result_formats import FORMATS, Result

CLASSES = ("cat", "dog, [big]", "鸟")
BOXES = np.array([[10.25, 20.0, 30.0, 50.0], [0, 0, 100, 80]], np.float32)
SOME = ImageDetections(BOXES, np.array([1, 2]), np.array([0.75, 0.5], np.float32))
NONE = ImageDetections(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))
RESULTS = [Result("in/ä.jpg", "ä", "ä.jpg", 100, 80, SOME), Result("in/b.jpg", "b", "b.jpg", 64, 48, NONE)]


def write(kind: str, out: Path, results: list[Result] = RESULTS) -> None:
    with FORMATS[kind](out, CLASSES) as add:
        for result in results:
            add(result)


def test_json(tmp_path: Path) -> None:
    write("json", tmp_path)
    records = json.loads((tmp_path / "detections.json").read_text())
    assert [*records] == ["in/ä.jpg", "in/b.jpg"] and records["in/b.jpg"]["detections"] == []
    assert records["in/ä.jpg"] == {
        "picture": "ä.jpg",
        "width": 100,
        "height": 80,
        "detections": [
            {"class": "dog, [big]", "score": 0.75, "box_xyxy_px": [10.25, 20, 30, 50]},
            {"class": "鸟", "score": 0.5, "box_xyxy_px": [0, 0, 100, 80]},
        ],
    }


def test_csv(tmp_path: Path) -> None:
    write("csv", tmp_path)
    with (tmp_path / "detections.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["class"], float(row["score"]), float(row["left"])) for row in rows] == [
        ("dog, [big]", 0.75, 10.25),
        ("鸟", 0.5, 0),
    ]


def test_coco(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    write("coco", tmp_path)
    read = COCO(str(tmp_path / "detections-coco.json"))
    assert [each["file_name"] for each in read.loadImgs(read.getImgIds())] == ["in/ä.jpg", "in/b.jpg"]
    assert [each["name"] for each in read.loadCats(read.getCatIds())] == list(CLASSES)
    first, second = read.loadAnns(read.getAnnIds(imgIds=[1]))
    assert (first["category_id"], first["bbox"], first["area"], first["score"]) == (
        2,
        [10.25, 20, 19.75, 30],
        592.5,
        0.75,
    )
    assert second["id"] == 2 and read.getAnnIds(imgIds=[2]) == []


def test_voc(tmp_path: Path) -> None:
    write("voc", tmp_path)
    text = (tmp_path / "voc/ä.xml").read_text(encoding="utf-8")
    read = parse_annotation(text, tmp_path / "voc/ä.xml")
    assert (read.width, read.height) == (100, 80)
    assert [box.name for box in read.boxes] == ["dog, [big]", "鸟"]
    np.testing.assert_allclose([box.xyxy_px for box in read.boxes], BOXES)
    assert (tmp_path / "voc/b.xml").exists()


def test_yolo(tmp_path: Path) -> None:
    write("yolo", tmp_path)
    assert (tmp_path / "classes.txt").read_text(encoding="utf-8").splitlines() == list(CLASSES)
    first, second = (tmp_path / "labels/ä.txt").read_text().splitlines()
    assert first == "1 0.201250 0.437500 0.197500 0.375000 0.7500"
    assert second == "2 0.500000 0.500000 1.000000 1.000000 0.5000"
    assert (tmp_path / "labels/b.txt").read_text() == ""


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("count", [0, 1])
def test_an_error_keeps_what_came_before(tmp_path: Path, kind: str, count: int) -> None:
    def interrupted() -> None:
        with FORMATS[kind](tmp_path, CLASSES) as add:
            for result in RESULTS[:count]:
                add(result)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.rglob("*.part"))
    for path in tmp_path.glob("*.json"):
        json.loads(path.read_text())


@pytest.mark.parametrize("kind", ["json", "csv", "coco"])
def test_a_full_disk_is_named_and_leaves_no_half_of_a_file(tmp_path: Path, kind: str) -> None:
    with small_disk(tmp_path, "16k") as disk:
        (disk / "filling").write_bytes(bytes(12 * 1024))
        with pytest.raises(OSError, match=r"No space left on device: '.*/detections"):
            write(kind, disk, RESULTS * 200)
        assert [path.name for path in disk.iterdir()] == ["filling"]
