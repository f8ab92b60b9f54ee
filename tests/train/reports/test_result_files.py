"""Result files are read by those who do not know this project: the devkit's rules and pycocotools."""

import contextlib
import io
import json
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from data.shards.index import ShardIndex
from data.shards.writing.write import write_shards
from data.sources.coco import read_coco as read_instances
from tests.train.evaluation.scores.test_coco import PUBLISHED
from train.evaluation.scores.coco import NAMES, coco_ap
from train.evaluation.scores.tables import Detections, by_image_id, truths_of
from train.evaluation.scores.voc import voc_ap
from train.reports.result_files import read_coco, read_voc, write_coco, write_voc


@pytest.fixture(scope="module")
def instances(shared: Path) -> Path:
    return shared / "golden/coco_ap/instances_val2014_100.json"


@pytest.fixture(scope="module")
def coco_index(instances: Path, tmp_path_factory: pytest.TempPathFactory) -> ShardIndex:
    """Shards of the 100 images, grey."""
    root = tmp_path_factory.mktemp("coco")
    for image in json.loads(instances.read_text())["images"]:
        cv2.imwrite(str(root / image["file_name"]), np.full((image["height"], image["width"], 3), 128, np.uint8))
    (root / "instances.json").write_bytes(instances.read_bytes())
    return write_shards(read_instances(root, ["instances.json"]), root / "shards", shard_mb=0.2, workers=1)


def random_detections(index: ShardIndex, count: int = 400) -> Detections:
    """Around the truths of an index, scores often equal, some boxes without an area."""
    rng = np.random.default_rng(0)
    truths = truths_of(index)
    which = rng.integers(0, len(truths.images), count)
    boxes = truths.boxes_xyxy_px[which] + rng.normal(0, 4, (count, 4)) * [-1, -1, 1, 1] * rng.random((count, 1))
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2])
    boxes[::50, 2] = boxes[::50, 0]
    return Detections(truths.images[which], truths.labels[which], rng.integers(0, 99, count) / 99, boxes)


# --- COCO ---


def test_coco_results_through_shards_give_the_published_numbers(instances: Path, coco_index: ShardIndex) -> None:
    found = read_coco(instances.with_name("cocoapi_instances_val2014_fakebbox100_results.json"), coco_index)
    found, truths = by_image_id(found, coco_index), by_image_id(truths_of(coco_index), coco_index)
    scores = coco_ap(found, truths, len(coco_index.classes))
    assert dict(zip(NAMES, scores.twelve.round(6).tolist(), strict=True)) == PUBLISHED


def test_pycocotools_scores_the_file_as_we_score_the_detections(
    instances: Path, coco_index: ShardIndex, tmp_path: Path
) -> None:
    found = random_detections(coco_index)
    write_coco(tmp_path / "new" / "results.json", found, coco_index)
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(str(instances))
        evaluation = COCOeval(known, known.loadRes(str(tmp_path / "new" / "results.json")), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    ours = coco_ap(
        by_image_id(found, coco_index), by_image_id(truths_of(coco_index), coco_index), len(coco_index.classes)
    )
    np.testing.assert_array_equal(ours.twelve, evaluation.stats)
    assert 0.2 < ours.ap < 0.9


def test_a_coco_file_is_read_back(coco_index: ShardIndex, tmp_path: Path) -> None:
    found = random_detections(coco_index)
    write_coco(tmp_path / "results.json", found, coco_index)
    row = json.loads((tmp_path / "results.json").read_text())[3]
    assert list(row) == ["image_id", "category_id", "bbox", "score"]
    assert row["image_id"] == int(coco_index.image_id(found.images[3])) and type(row["image_id"]) is int
    assert row["category_id"] == coco_index.category_ids[found.labels[3]]
    assert row["bbox"][2] == found.boxes_xyxy_px[3, 2] - found.boxes_xyxy_px[3, 0]
    again = read_coco(tmp_path / "results.json", coco_index)
    for name in ("images", "labels", "scores"):
        assert np.array_equal(getattr(again, name), getattr(found, name))
    np.testing.assert_allclose(again.boxes_xyxy_px, found.boxes_xyxy_px, rtol=1e-14)
    write_coco(tmp_path / "results.json", Detections.empty(), coco_index)
    assert len(read_coco(tmp_path / "results.json", coco_index).images) == 0


GOOD = {"image_id": 42, "category_id": 18, "bbox": [1, 2, 3, 4], "score": 0.5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 43}, r"expected image ids of .*shards \(coco instances.json\), found 1 other, such as 43; use"),
        ({"category_id": 12}, r"expected category ids of 1, 2, .* 90, found 12; use shards and results of one"),
        ({"score": float("nan")}, r"expected a JSON list of image_id, .*malformed: .*write it again"),
        ({"bbox": [1, 2, 3]}, r"expected a JSON list .*`array` of length 4 - at `\$\[1\].bbox`.*write it again"),
        ({"image_id": "42"}, r"expected a JSON list .*Expected `int`, got `str` - at `\$\[1\].image_id`"),
        ({"bbox": [1, 2, -3, 4]}, r"Detections row 1 .*expected x1 <= x2 and y1 <= y2"),
    ],
)
def test_a_coco_file_that_does_not_fit(
    change: dict[str, object], message: str, coco_index: ShardIndex, tmp_path: Path
) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps([GOOD, GOOD | change]))
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: {message}"):
        read_coco(path, coco_index)


def test_image_ids_that_are_no_numbers_are_for_voc(index: ShardIndex, tmp_path: Path) -> None:
    words = index.arrays | {"image_ids": np.array([b"2007_" + name for name in index.arrays["image_ids"]])}
    with pytest.raises(ValueError, match=r"expected numbers as image ids for a COCO file, found '2007_.*VOC's files"):
        write_coco(tmp_path / "results.json", Detections.empty(), replace(index, arrays=words))


# --- VOC ---


def test_voc_files_follow_the_devkit_and_are_read_back(index: ShardIndex, tmp_path: Path) -> None:
    found = random_detections(index)
    write_voc(tmp_path / "results", found, index)
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == sorted(
        f"comp4_det_test_{name}.txt" for name in index.classes
    )
    first = found.labels[0]
    line = (tmp_path / "results" / f"comp4_det_test_{index.classes[first]}.txt").read_text().splitlines()[0].split()
    assert line[0] == index.image_id(found.images[0]) and float(line[1]) == found.scores[0]
    np.testing.assert_allclose(np.array(line[2:], float), found.boxes_xyxy_px[0] + [1, 1, 0, 0], rtol=1e-14)

    again = read_voc(tmp_path / "results", index)
    by_class = np.argsort(found.labels, kind="stable")
    for name in ("images", "labels", "scores"):
        assert np.array_equal(getattr(again, name), getattr(found, name)[by_class])
    np.testing.assert_allclose(again.boxes_xyxy_px, found.boxes_xyxy_px[by_class], atol=1e-12)
    truths = truths_of(index)
    ours, theirs = (voc_ap(each, truths, len(index.classes)) for each in (found, again))
    np.testing.assert_array_equal(ours.ap_area, theirs.ap_area)
    assert 0.2 < ours.map_area < 1


def test_the_published_voc_files_are_read(shared: Path, tmp_path: Path) -> None:
    """Lines that others wrote; their images are made up for the index."""
    with tarfile.open(shared / "golden/voc_ap/detections.tar.xz") as tar:
        members = [member for member in tar if member.name.startswith("yolov2/") and member.isfile()]
        tar.extractall(tmp_path, members, filter="data")
    names = sorted(Path(member.name).stem.removeprefix("comp4_det_test_") for member in members)
    lines = [line.split() for member in members for line in (tmp_path / member.name).read_text().splitlines()]
    ids = sorted({line[0] for line in lines})
    index = ShardIndex(
        folder=tmp_path, source="voc", classes=tuple(names), category_ids=tuple(range(20)), dropped={}, shards=(),
        arrays={"keys": np.array(ids, "S"), "image_ids": np.array(ids, "S")}, digest="",
        arrays_sha256="", mapped=[],
    )  # fmt: skip
    found = read_voc(tmp_path / "yolov2", index)
    assert len(found.images) == len(lines) and len(ids) > 4900
    row = lines[0]
    mine = (found.scores == float(row[1])) & (found.images == ids.index(row[0]))
    assert (np.abs(found.boxes_xyxy_px[mine] + [1, 1, 0, 0] - np.array(row[2:], float)).max(1) < 1e-9).any()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nowhere 0.5 1 1 5 5", r"expected image ids of .* \(voc .*\), found 1 other, such as nowhere; use the"),
        ("{id} nan 1 1 5 5", r"Detections row 1 .*scores nan, expected a number"),
        ("{id} 0.5 1 1 5", r"expected lines of image id, score and four corners \(.*\); write it again"),
        ("{id} 0.5 1 1 5 five", r"expected lines of image id, score and four corners \(.*five.*\); write it again"),
        ("{id} 0.5 9 1 5 5", r"Detections row 1 .*expected x1 <= x2 and y1 <= y2"),
    ],
)
def test_a_voc_file_that_does_not_fit(line: str, message: str, index: ShardIndex, tmp_path: Path) -> None:
    write_voc(tmp_path, Detections.empty(), index)
    path = tmp_path / f"comp4_det_test_{index.classes[0]}.txt"
    path.write_text(f"{index.image_id(0)} 0.5 1 1 5 5\n{line.format(id=index.image_id(0))}\n")
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))}: {message}"):
        read_voc(tmp_path, index)


def test_files_of_other_classes(index: ShardIndex, tmp_path: Path) -> None:
    write_voc(tmp_path, Detections.empty(), index)
    (tmp_path / "comp4_det_test_zebra.txt").touch()
    with pytest.raises(ValueError, match=r"expected comp4_det_test_CLASS.txt for .*zebra.txt is of no class; use"):
        read_voc(tmp_path, index)
    (tmp_path / "comp4_det_test_zebra.txt").unlink()
    (tmp_path / f"comp4_det_test_{index.classes[1]}.txt").unlink()
    with pytest.raises(ValueError, match=rf"{index.classes[1]}.txt is missing; use shards and results of one"):
        read_voc(tmp_path, index)


def test_samples_that_the_index_does_not_have(index: ShardIndex, tmp_path: Path) -> None:
    none = np.zeros(1, np.int64)
    for sample in (-1, index.num_samples):
        with pytest.raises(AssertionError, match=f"detections of sample {sample}, there are {index.num_samples}"):
            write_voc(tmp_path, Detections(none + sample, none, np.ones(1), np.array([[0.0, 0, 1, 1]])), index)


def test_names_that_are_no_file_names_and_ids_with_spaces_come_back(index: ShardIndex, tmp_path: Path) -> None:
    names = ("cat/dog", "..", "a\\b%2Fc", "图 [x]", "new\nline", "plain")
    image_ids = np.array([f"holiday photo {number}".encode() for number in range(index.num_samples)])
    odd = replace(index, classes=names, arrays=index.arrays | {"image_ids": image_ids})
    found = Detections(
        np.arange(6), np.arange(6), np.linspace(0.1, 0.6, 6), np.array([[1.5, 2, 30, 40.25]] * 6, np.float64)
    )
    write_voc(tmp_path / "results", found, odd)
    assert len(list((tmp_path / "results").iterdir())) == 6
    again = read_voc(tmp_path / "results", odd)
    assert again.images.tolist() == found.images.tolist() and again.labels.tolist() == found.labels.tolist()
    assert (
        (tmp_path / "results/comp4_det_test_cat%2Fdog.txt").read_text().startswith("holiday photo 0 0.1 2.5 3.0 30.0")
    )


def test_files_of_shrunk_images_are_in_px_of_the_originals(index: ShardIndex, tmp_path: Path) -> None:
    found = random_detections(index)
    sources = {f"source_{side}": 2 * index.arrays[side] for side in ("widths", "heights")}
    shrunk = replace(index, arrays=index.arrays | sources)
    write_voc(tmp_path / "whole", replace(found, boxes_xyxy_px=found.boxes_xyxy_px * 2), index)
    write_voc(tmp_path / "shrunk", found, shrunk)
    for path in (tmp_path / "whole").iterdir():
        assert path.read_bytes() == (tmp_path / "shrunk" / path.name).read_bytes()
    again = read_voc(tmp_path / "shrunk", shrunk)
    np.testing.assert_allclose(np.sort(again.boxes_xyxy_px, 0), np.sort(found.boxes_xyxy_px, 0), atol=1e-9)
