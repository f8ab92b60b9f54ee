import copy
import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from data.images.augment import AugmentConfig
from data.loading.config import DataConfig
from data.loading.loader import Loader
from data.records import Record
from data.shards.__main__ import main
from data.shards.index import ShardIndex
from data.sources.coco import read_coco
from data.sources.rules.choose import Choice

SET: dict[str, Any] = {
    "info": {"year": 2017},
    "images": [
        {"id": 30, "file_name": "c.jpg", "width": 100, "height": 80, "license": 1},
        {"id": 7, "file_name": "a.jpg", "width": 50, "height": 60},
        {"id": 9, "file_name": "b.jpg", "width": 50, "height": 60},
        {"id": 8, "file_name": "d.jpg", "width": 50, "height": 60},
    ],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1.5, 2, 10, 20.25], "area": 90.5, "iscrowd": 0},
        {"id": 2, "image_id": 30, "category_id": 90, "bbox": [5, 6, 7, 8], "area": 11, "segmentation": [[1, 2, 3, 4]]},
        {"id": 5, "image_id": 7, "category_id": 90, "bbox": [0, 0, 50, 60], "area": 70.5, "iscrowd": 1}
        | {"segmentation": {"counts": [5, 2], "size": [60, 50]}},
        {"id": 4, "image_id": 8, "category_id": 18, "bbox": [0, 0, 10, 10]},
    ],
    "categories": [
        {"id": 90, "name": "toothbrush", "supercategory": "indoor"},
        {"id": 3, "name": "car"},
        {"id": 18, "name": "dog"},
    ],
}


def write_set(root: Path, instances: object = SET, split: str = "mine") -> Path:
    (root / "annotations").mkdir(exist_ok=True)
    text = instances if isinstance(instances, str) else json.dumps(instances)
    (root / "annotations" / f"instances_{split}.json").write_text(text)
    (root / split).mkdir(exist_ok=True)
    for name in "abcd":
        (root / split / f"{name}.jpg").touch()
    return root


def changed(table: str, row: int, **fields: object) -> dict[str, Any]:
    """SET with other fields in one row; None takes a field out."""
    instances = copy.deepcopy(SET)
    found = instances[table][row] | fields
    instances[table][row] = {name: value for name, value in found.items() if value is not None}
    return instances


def record_of(records: list[Record], key: str) -> Record:
    [found] = [record for record in records if record.key == key]
    return found


# --- what a set becomes


def test_sparse_ids_become_labels_in_order_of_id(tmp_path: Path) -> None:
    found = read_coco(write_set(tmp_path), ["mine"])
    assert (found.source, found.dropped) == ("coco mine", {})
    assert (found.classes, found.category_ids) == (("car", "dog", "toothbrush"), (3, 18, 90))
    assert [(record.key, record.image_id) for record in found.records] == [
        ("a", "7"),
        ("d", "8"),
        ("b", "9"),
        ("c", "30"),
    ]
    assert [record.labels.tolist() for record in found.records] == [[0, 2], [1], [], [2]]
    assert [(record.width, record.height) for record in found.records] == [(50, 60)] * 3 + [(100, 80)]
    assert found.records[3].image == tmp_path / "mine" / "c.jpg"
    assert found.records[2].boxes_xyxy_px.shape == (0, 4) and found.records[2].labels.dtype == np.int16


def test_boxes_areas_and_crowd(tmp_path: Path) -> None:
    record = read_coco(write_set(tmp_path), ["mine"]).records[0]
    np.testing.assert_array_equal(record.boxes_xyxy_px, [[1.5, 2, 11.5, 22.25], [0, 0, 50, 60]])
    assert record.areas_px.tolist() == [90.5, 70.5]
    assert (record.crowd.tolist(), record.difficult.tolist()) == ([False, True], [False, False])


def test_without_area_and_iscrowd(tmp_path: Path) -> None:
    record = record_of(read_coco(write_set(tmp_path), ["mine"]).records, "d")
    assert (record.areas_px.tolist(), record.crowd.tolist()) == ([100], [False])


def test_boxes_are_clipped_and_keep_their_area(tmp_path: Path) -> None:
    root = write_set(tmp_path, changed("annotations", 0, bbox=[-5, -1.5, 70, 21.5]))
    record = read_coco(root, ["mine"]).records[0]
    np.testing.assert_array_equal(record.boxes_xyxy_px[0], [0, 0, 50, 20])
    assert record.areas_px[0] == 90.5


@pytest.mark.parametrize("bbox", [[5, 5, 0, 9], [5, 5, 9, 0], [50, 0, 10, 10], [-9, 0, 9, 5], [0, 60, 5, 5]])
def test_degenerate_boxes_are_refused_or_left_out_and_counted(tmp_path: Path, bbox: list[float]) -> None:
    root = write_set(tmp_path, changed("annotations", 0, bbox=bbox))
    with pytest.raises(ValueError, match=r"found 1 other; .*--drop-degenerate\n.*mine\.json: annotation 1 \(car\) \["):
        read_coco(root, ["mine"])
    found = read_coco(root, ["mine"], Choice(drop_degenerate=True))
    assert found.dropped == {"degenerate boxes": 1}
    assert found.records[0].labels.tolist() == [2]
    assert found.records[0].boxes_xyxy_px.tolist() == [[0, 0, 50, 60]]


@pytest.mark.parametrize(
    ("file_name", "key"),
    [("x.y.jpg", "x_y"), ("train/x.JPG", "train_x"), ("ü x.png", "__x-[0-9a-f]{12}"), ("x.WebP", "x")],
)
def test_keys_are_names_without_what_tars_cannot_have(tmp_path: Path, file_name: str, key: str) -> None:
    root = write_set(tmp_path, changed("images", 0, file_name=file_name))
    (root / "mine" / "train").mkdir()
    (root / "mine" / file_name).touch()
    record = read_coco(root, ["mine"]).records[3]
    assert record.image == root / "mine" / file_name and re.fullmatch(key, record.key)


# --- which images


def test_several_splits(tmp_path: Path) -> None:
    write_set(tmp_path, split="one")
    other = {"images": [SET["images"][0] | {"id": 1, "file_name": "d.jpg"}], "annotations": []}
    write_set(tmp_path, SET | other, "two")
    found = read_coco(tmp_path, ["one", "two"])
    assert found.source == "coco one two"
    assert [record.image_id for record in found.records] == ["7", "8", "9", "30", "1"]
    assert found.records[4].image == tmp_path / "two" / "d.jpg"


def test_several_files_become_one_set(tmp_path: Path) -> None:
    """Categories by their names, image ids that come again anew; both are said."""
    write_set(tmp_path, split="one")
    other = copy.deepcopy(SET)
    other["categories"] = [{"id": 1, "name": "dog"}, {"id": 3, "name": "bus"}, {"id": 90, "name": "toothbrush"}]
    for annotation in other["annotations"]:
        annotation["category_id"] = {18: 1}.get(annotation["category_id"], annotation["category_id"])
    write_set(tmp_path, other, "two")
    found = read_coco(tmp_path, ["one", "two"])
    assert (found.classes, found.category_ids) == (("car", "dog", "toothbrush", "bus"), (3, 18, 90, 91))
    assert [record.image_id for record in found.records] == ["7", "8", "9", "30", "31", "32", "33", "34"]
    assert [record.labels.tolist() for record in found.records[4:]] == [[3, 2], [1], [], [2]]
    assert len({record.key for record in found.records}) == 8 and found.records[4].image.parent.name == "two"
    assert found.source_ids == {
        "images": {str(31 + row): f"{old} of instances_two.json" for row, old in enumerate((7, 8, 9, 30))}
    }
    assert found.findings.lines() == [
        "categories with another id in the first file (matched by name): 2 (dog (1 in instances_two.json), "
        "bus (3 in instances_two.json))",
        "image ids of instances_two.json that an earlier file has (all of its ids are numbered anew, from 31): 4 "
        "(7, 8, 9, ...)",
    ]


def test_image_in_two_splits(tmp_path: Path) -> None:
    write_set(tmp_path, split="one")
    split = "annotations/instances_one.json:one"
    with pytest.raises(ValueError, match=r"expected each image once, found .*one/a\.jpg again; leave out one of the"):
        read_coco(tmp_path, ["one", split])


@pytest.mark.parametrize("layout", ["mine", "images/mine"])
def test_folder_of_a_split(tmp_path: Path, layout: str) -> None:
    write_set(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "mine").rename(tmp_path / layout)
    assert read_coco(tmp_path, ["mine"]).records[0].image == tmp_path / layout / "a.jpg"


@pytest.mark.parametrize(("split", "folder"), [("sub/all.json:mine", "mine"), ("sub/all.json", "sub")])
def test_json_and_folder_of_any_name(tmp_path: Path, split: str, folder: str) -> None:
    write_set(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "annotations" / "instances_mine.json").rename(tmp_path / "sub" / "all.json")
    if folder == "sub":
        for path in (tmp_path / "mine").iterdir():
            path.rename(tmp_path / "sub" / path.name)
    assert read_coco(tmp_path, [split]).records[0].image == tmp_path / folder / "a.jpg"


def test_given_classes_set_the_labels(tmp_path: Path) -> None:
    found = read_coco(write_set(tmp_path), ["mine"], Choice(classes=["toothbrush", "car", "dog"]))
    assert (found.classes, found.category_ids) == (("toothbrush", "car", "dog"), (90, 3, 18))
    assert [record.labels.tolist() for record in found.records] == [[1, 0], [2], [], [0]]
    assert found.source == "coco mine"


def test_subset_of_classes_leaves_out_images_of_others_only(tmp_path: Path) -> None:
    found = read_coco(write_set(tmp_path), ["mine"], Choice(classes=["car"]))
    assert (found.classes, found.category_ids) == (("car",), (3,))
    assert found.dropped == {"objects of other classes": 1}  # on the images that stay
    assert found.source == "coco mine (1 of 3 classes, 2 of 4 images)"
    assert [(record.key, record.labels.tolist()) for record in found.records] == [("a", [0]), ("b", [])]
    np.testing.assert_array_equal(found.records[0].boxes_xyxy_px, [[1.5, 2, 11.5, 22.25]])


def test_images_of_other_classes_can_stay(tmp_path: Path) -> None:
    found = read_coco(write_set(tmp_path), ["mine"], Choice(classes=["car"], keep_others=True))
    assert found.source == "coco mine (1 of 3 classes)"
    assert [record.labels.tolist() for record in found.records] == [[0], [], [], []]


@pytest.mark.parametrize(("classes", "shown"), [(["car", "cat"], "found cat"), (["car", "car"], "found car")])
def test_wrong_classes(tmp_path: Path, classes: list[str], shown: str) -> None:
    message = f"mine.json: expected --classes from car, dog, toothbrush, each once; {shown}; correct it"
    with pytest.raises(ValueError, match=re.escape(message)):
        read_coco(write_set(tmp_path), ["mine"], Choice(classes=classes))


def many(count: int) -> dict[str, Any]:
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 9, "height": 9} for i in range(count)]
    return SET | {"images": images, "annotations": []}


def test_count_is_the_same_choice_whatever_the_order_and_grows(tmp_path: Path) -> None:
    instances = many(200)
    root = write_set(tmp_path, instances)
    for i in range(200):
        (root / "mine" / f"{i}.jpg").touch()
    found = {
        count: [int(record.image_id) for record in read_coco(root, ["mine"], Choice(count=count)).records]
        for count in (20, 60)
    }
    assert len(set(found[20])) == 20 and set(found[20]) < set(found[60])
    assert found[20] == sorted(found[20]) and max(np.diff(found[60])) < 30  # from all over the set
    write_set(tmp_path, instances | {"images": instances["images"][::-1]})
    again = read_coco(root, ["mine"], Choice(count=20))
    assert [int(record.image_id) for record in again.records] == found[20]
    assert again.source == "coco mine (20 of 200 images)"


def test_count_counts_only_what_is_chosen(tmp_path: Path) -> None:
    root = write_set(tmp_path, changed("annotations", 1, bbox=[0, 0, 0, 0]))
    dropped = [read_coco(root, ["mine"], Choice(count=count, drop_degenerate=True)) for count in (1, 2, 3, 4)]
    for found in dropped:
        there = any(record.image_id == "30" for record in found.records)
        assert found.dropped == ({"degenerate boxes": 1} if there else {})
    assert {bool(found.dropped) for found in dropped} == {True, False}


@pytest.mark.parametrize("count", [0, -1, 5])
def test_count_out_of_range(tmp_path: Path, count: int) -> None:
    with pytest.raises(ValueError, match=f"expected --count from 1 to 4, the number of images; found {count}"):
        read_coco(write_set(tmp_path), ["mine"], Choice(count=count))


def test_images_that_are_not_there(tmp_path: Path) -> None:
    root = write_set(tmp_path)
    (root / "mine" / "b.jpg").unlink()
    with pytest.raises(ValueError, match=r"expected 4 images, 1 missing; unpack .*coco --help\n.*/mine/b\.jpg$"):
        read_coco(root, ["mine"])
    read_coco(root, ["mine"], Choice(classes=["dog"], count=1))  # b is not among them


def test_no_such_split(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"instances_val\.json: .* holds annotations/instances_mine\.json; name a split val2017"
    ):
        read_coco(write_set(tmp_path), ["val"])


# --- files of other tools


def test_loose_files_are_read_as_they_are_meant(tmp_path: Path) -> None:
    """Ids as floats and words of digits, false, a byte order mark, no ids of annotations: what pycocotools takes."""
    official = read_coco(write_set(tmp_path), ["mine"])
    loose = copy.deepcopy(SET)
    for image in loose["images"]:
        image |= {"id": str(image["id"]), "width": float(image["width"])}
    for number, annotation in enumerate(loose["annotations"]):
        annotation |= {
            "id": 0,
            "image_id": float(annotation["image_id"]),
            "category_id": str(annotation["category_id"]),
        }
        annotation["iscrowd"] = bool(annotation.get("iscrowd", 0)) if number else None
    write_set(tmp_path, "\ufeff" + json.dumps(loose))
    found = read_coco(tmp_path, ["mine"])
    assert (found.classes, found.category_ids, found.source_ids) == (official.classes, official.category_ids, {})
    for one, other in zip(found.records, official.records, strict=True):
        assert (one.key, one.image_id, one.width, one.height) == (other.key, other.image_id, other.width, other.height)
        for name in ("boxes_xyxy_px", "areas_px", "labels", "crowd"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_ids_that_are_words_get_numbers_and_the_index_keeps_them(tmp_path: Path) -> None:
    words = changed("images", 0, id="frame c")
    words["annotations"][1]["image_id"] = "frame c"
    words["categories"][2]["id"] = words["annotations"][3]["category_id"] = "hund"
    found = read_coco(write_set(tmp_path, words), ["mine"])
    assert [record.image_id for record in found.records] == ["7", "8", "9", "10"]
    assert (found.classes, found.category_ids) == (("car", "toothbrush", "dog"), (3, 90, 91))
    assert found.source_ids == {"images": {"10": "frame c"}, "categories": {"91": "hund"}}


@pytest.mark.parametrize("name", ["things", "car"])
def test_a_category_that_only_groups_others_is_no_class(tmp_path: Path, name: str) -> None:
    """Roboflow's number 0; it may have the name of a class."""
    grouped = copy.deepcopy(SET)
    for category in grouped["categories"]:
        category["supercategory"] = name
    grouped["categories"].append({"id": 0, "name": name, "supercategory": "none"})
    found = read_coco(write_set(tmp_path, grouped), ["mine"])
    assert (found.classes, found.category_ids) == (("car", "dog", "toothbrush"), (3, 18, 90))
    assert found.findings.lines() == [
        "categories without objects that group others or repeat a name (not used as classes): "
        f"1 ({name} (instances_mine.json))"
    ]


def test_a_class_without_objects_stays_a_class(tmp_path: Path) -> None:
    more = copy.deepcopy(SET)
    more["categories"].append({"id": 4, "name": "person", "supercategory": "person"})
    more["categories"].append({"id": 5, "name": "food"})
    assert read_coco(write_set(tmp_path, more), ["mine"]).classes == ("car", "person", "food", "dog", "toothbrush")


def test_roboflow_layout(tmp_path: Path) -> None:
    write_set(tmp_path, split="train")
    (tmp_path / "annotations" / "instances_train.json").rename(tmp_path / "train" / "_annotations.coco.json")
    assert read_coco(tmp_path, ["train"]).records[0].image == tmp_path / "train" / "a.jpg"


def test_images_in_sub_folders_with_back_slashes_and_other_cases(tmp_path: Path) -> None:
    root = write_set(tmp_path, changed("images", 1, file_name="by day\\one\\A b.JPG"))
    place = root / "mine" / "by day" / "one"
    place.mkdir(parents=True)
    (place / "A b.jpg").touch()
    assert read_coco(root, ["mine"]).records[0].image == place / "A b.jpg"


@pytest.mark.parametrize("layout", ["images", "images/default", "."])
def test_folders_of_cvat_and_label_studio(tmp_path: Path, layout: str) -> None:
    root = write_set(tmp_path, split="default")
    (root / layout).mkdir(parents=True, exist_ok=True)
    for path in list((root / "default").iterdir()):
        path.rename(root / layout / path.name)
    assert read_coco(root, ["default"]).records[0].image == root / layout / "a.jpg"
    if layout != "images/default":
        (root / "annotations" / "instances_default.json").rename(root / "result.json")
        assert read_coco(root, ["result.json"]).records[0].image.name == "a.jpg"


def test_boxes_of_another_layout_are_remarked_on(tmp_path: Path) -> None:
    corners = changed("annotations", 0, bbox=[20, 20, 45, 55])
    assert "boxes of 4 that lose more than a tenth at the border of their image, 52% on average" in str(
        read_coco(write_set(tmp_path, corners), ["mine"]).findings.lines()
    )
    fractions = copy.deepcopy(SET)
    for annotation in fractions["annotations"]:
        annotation["bbox"] = [0.1, 0.2, 0.3, 0.8]
    (line,) = read_coco(write_set(tmp_path, fractions), ["mine"]).findings.lines()
    assert line.startswith(
        "boxes within 0..1, all boxes of the set (fractions of the image, not px?): 4 (instances_mine.json:"
    )


@pytest.mark.parametrize("iscrowd", [True, 1.0])
def test_crowds_may_be_said_by_other_types(tmp_path: Path, iscrowd: object) -> None:
    found = read_coco(write_set(tmp_path, changed("annotations", 0, iscrowd=iscrowd)), ["mine"])
    assert found.records[0].crowd.all()


def test_areas_of_0_are_reported(tmp_path: Path) -> None:
    """As of exporters that do not know them: evaluation would sort every object into the small ones."""
    lines = read_coco(write_set(tmp_path, changed("annotations", 0, area=0)), ["mine"]).findings.lines()
    assert len(lines) == 1 and lines[0].startswith("objects with an area of 0, though their boxes have one")


def test_segmentations_are_not_looked_at(tmp_path: Path) -> None:
    found = read_coco(write_set(tmp_path, changed("annotations", 0, segmentation={"counts": None})), ["mine"])
    assert len(found.records[0].labels) == 2


# --- real pictures


@pytest.fixture(scope="module")
def coco188(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = shared / "data" / "coco188_val2017.tar"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    root = tmp_path_factory.mktemp("coco")
    with tarfile.open(path) as tar:
        tar.extractall(root, filter="data")
    return root


def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def call(*arguments: object) -> str:
        main([str(argument) for argument in (*arguments, "--workers", "1")])
        return capsys.readouterr().out

    return call


def test_from_json_to_batches(coco188: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "shards"
    line = f"{out}: 188 images, 1,692 objects (0 difficult, 20 crowd) in 1 shard, from coco val2017\n"
    assert run(capsys)("coco", coco188, "--split", "val2017", out).startswith(line)
    assert run(capsys)("verify", out).startswith(line)
    index = ShardIndex.load(out)

    official = COCO(str(coco188 / "annotations" / "instances_val2017.json"))
    categories = official.loadCats(sorted(official.getCatIds()))
    assert index.category_ids == tuple(category["id"] for category in categories)
    assert index.classes == tuple(category["name"] for category in categories)
    assert sorted(int(index.image_id(sample)) for sample in range(188)) == sorted(official.getImgIds())
    without = 0
    for sample in range(188):
        image_id, mine = int(index.image_id(sample)), index.objects(sample)
        annotations = official.loadAnns(official.getAnnIds(imgIds=image_id))
        width, height = index.size_px(sample)
        xywh = np.array([one["bbox"] for one in annotations]).reshape(-1, 4)
        boxes_xyxy_px = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
        np.testing.assert_array_equal(
            index.arrays["boxes_xyxy_px"][mine], boxes_xyxy_px.clip(0, [width, height, width, height])
        )
        np.testing.assert_allclose(index.arrays["boxes_xyxy_px"][mine], boxes_xyxy_px, atol=0.02)  # hardly any clipped
        assert index.arrays["areas_px"][mine].tolist() == [one["area"] for one in annotations]
        assert index.arrays["crowd"][mine].tolist() == [one["iscrowd"] == 1 for one in annotations]
        ids = [index.category_ids[label] for label in index.arrays["labels"][mine]]
        assert ids == [one["category_id"] for one in annotations]
        without += not annotations
    assert without == 2

    augment = AugmentConfig(jitter=0, flip=0)  # so that no object is cut off
    config = DataConfig(train="", val="", batch=4, sides=[96], truth_slots=100, workers=0, augment=augment)
    loader = Loader(index, config, seed=0, rank=0, world_size=1, device=torch.device("cpu"))
    for batch in loader.batches(0, 188):
        for sample, truths in zip(batch.samples.tolist(), batch.truths, strict=True):
            mine = index.objects(sample)
            labels = index.arrays["labels"][mine][~index.arrays["crowd"][mine]]
            assert sorted(truths[truths[:, 4] >= 0, 4].tolist()) == sorted(labels.tolist())
    assert loader.faults == 0


def test_subset_by_class_and_count(coco188: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    official = COCO(str(coco188 / "annotations" / "instances_val2017.json"))
    id_ = official.getCatIds(catNms=["traffic light"])
    out = tmp_path / "lights"
    run(capsys)("coco", coco188, "--split", "val2017", "--classes", "traffic light", out)
    index = ShardIndex.load(out)
    assert (index.classes, index.category_ids) == (("traffic light",), tuple(id_))
    assert len(index.arrays["labels"]) == len(official.getAnnIds(catIds=id_))
    assert index.num_samples == len(official.getImgIds(catIds=id_)) + 2
    few = tmp_path / "few"
    split = "annotations/instances_val2017.json:val2017"
    run(capsys)("coco", coco188, "--split", split, "--count", 5, "--classes", "person,car", "--keep-others", few)
    assert ShardIndex.load(few).num_samples == 5
    assert ShardIndex.load(few).source == f"coco {split} (2 of 80 classes, 5 of 188 images)"


def test_errors_end_the_command(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r".*instances_val\.json: expected instances in JSON"):
        main(["coco", str(write_set(tmp_path)), "--split", "val", str(tmp_path / "out")])
