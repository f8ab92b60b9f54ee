"""Counts and sizes of a set small enough to know by heart."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data.anchors import sizes_cells
from data.records import Annotations, Record
from data.shards.__main__ import main
from data.shards.index import ShardIndex
from data.shards.write import write_shards
from data.view.statistics import (
    class_counts,
    coco_sizes,
    image_sizes,
    measure,
    picture,
    read_anchors,
    shared_slots,
    table,
)

SUFFIXES = ("px", "image", "320", "input", "height")  # of the rows that hold quantiles
ANCHORS = np.array([[1.0, 1.0], [4.0, 4.0]])  # cells
Objects = list[tuple[tuple[float, float, float, float], int, str]]  # box px, label, "", "difficult" or "crowd"


def shards(
    folder: Path, images: list[tuple[int, int, Objects]], *, files: dict[int, bytes] | None = None
) -> ShardIndex:
    """A set of black images (width, height, objects); areas are half of the boxes'."""
    records = []
    (folder / "images").mkdir()
    for number, (width, height, objects) in enumerate(images):
        path = folder / "images" / f"image{number}.jpg"
        data = (files or {}).get(number) or cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))[1].tobytes()
        path.write_bytes(data)
        boxes = np.array([box for box, _, _ in objects], np.float64).reshape(-1, 4)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) / 2
        labels = np.array([label for _, label, _ in objects], np.int16)
        marks = [np.array([mark == name for _, _, mark in objects], np.bool_) for name in ("difficult", "crowd")]
        records.append(Record(path.stem, path.stem, path, width, height, boxes, areas, labels, *marks))
    return write_shards(Annotations("black images", ("cat", "dog", "owl"), (1, 2, 3), records, {}), folder / "shards")


@pytest.fixture
def index(tmp_path: Path) -> ShardIndex:
    """Four images, six objects, four of them trained on."""
    return shards(
        tmp_path,
        [
            (320, 160, [((10, 10, 42, 42), 0, ""), ((100, 20, 300, 120), 1, ""), ((0, 0, 320, 160), 1, "difficult")]),
            (160, 320, [((0, 0, 160, 320), 0, ""), ((5, 5, 9, 9), 0, "crowd")]),
            (320, 160, []),
            (320, 160, [((16, 96, 80, 160), 0, "")]),
        ],
    )


def test_objects_are_counted_by_class_and_kind(index: ShardIndex) -> None:
    np.testing.assert_array_equal(class_counts(index), [[3, 0, 1], [1, 1, 0], [0, 0, 0]])


def test_the_table_says_what_there_is(index: ShardIndex) -> None:
    lines = table(measure(index, 320, "letterbox", ANCHORS)).splitlines()
    cells = {line.split("  ")[0]: line.split() for line in lines if line}
    assert lines[0] == f"{index.folder}, from black images"
    assert cells["cat"][1:] == ["3", "4", "3", "0", "1"]  # images with it, objects, trained, difficult, crowd
    assert cells["dog"][1:] == ["1", "2", "1", "1", "0"]
    assert cells["owl"][1:] == ["0"] * 5
    assert cells["of 3 classes"][3:] == ["4", "6", "4", "1", "1"]
    quantiles = {name: [float(word) for word in row[-7:]] for name, row in cells.items() if name.endswith(SUFFIXES)}
    assert quantiles["image width, px"] == [160, 165, 208, 320, 320, 320, 320]
    assert quantiles["trained objects on an image"] == [0, 0, 0, 1, 2, 2, 2]
    assert quantiles["box width, px of the image"][::3] == [32, 112, 200]
    assert quantiles["box height, px of 320"][::3] == [32, 82, 320]
    assert quantiles["box height, of the input"][::3] == [0.1, 0.256, 1]
    assert quantiles["box width / height"][::3] == [0.5, 1, 2]
    assert cells["images without objects"][3:] == ["1", "(25.0%)"]
    assert "320x160 (75.0%), 160x320 (25.0%)" in "\n".join(lines)
    assert cells["image files"][-2:] == ["4", "JPEG"]
    sizes = next(line for line in lines if line.startswith("objects by size"))
    assert sizes.endswith("small (< 32x32 px) 25.0%, medium 25.0%, large (> 96x96 px) 50.0%")


def test_boxes_are_measured_where_training_measures_them(index: ShardIndex) -> None:
    for resize in ("letterbox", "stretch"):
        stats = measure(index, 416, resize, None)  # type: ignore[arg-type]
        np.testing.assert_allclose(stats.sizes_cells, sizes_cells(index, 416, resize), rtol=1e-5)  # type: ignore[arg-type]
    at = {index.key(sample): sample for sample in range(4)}["image3"]
    letterboxed = measure(index, 320, "letterbox", None)
    np.testing.assert_allclose(
        letterboxed.boxes_xyxy[letterboxed.samples == at] * 320, [[16, 80 + 96, 80, 80 + 160]], atol=1e-4
    )
    stretched = measure(index, 320, "stretch", None)
    np.testing.assert_allclose(stretched.boxes_xyxy[stretched.samples == at] * 320, [[16, 192, 80, 320]], atol=1e-4)


def test_small_medium_and_large_go_by_the_stated_area(index: ShardIndex) -> None:
    """The areas are half of the boxes': 64 x 64 px with an area of 2048 is medium, 32 x 32 px with 512 is small."""
    assert list(coco_sizes(measure(index, 320, "letterbox", None)).values()) == [1, 1, 2]


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ((0, 0, 20, 20), (5, 5, 25, 25), 1),  # same cell, same anchor
        ((0, 0, 20, 20), (60, 0, 80, 20), 0),  # another cell
        ((0, 0, 34, 34), (0, 0, 63, 63), 1),
        ((40, 40, 90, 90), (0, 0, 126, 126), 0),  # same cell (1, 1), another anchor
    ],
)
def test_objects_that_share_cell_and_anchor_are_counted(
    tmp_path: Path, first: tuple[int, int, int, int], second: tuple[int, int, int, int], shared: int
) -> None:
    together = shards(tmp_path, [(320, 320, [(first, 0, ""), (second, 1, "")])])
    assert shared_slots(measure(together, 320, "letterbox", ANCHORS), ANCHORS) == shared
    (tmp_path / "apart").mkdir()
    apart = shards(tmp_path / "apart", [(320, 320, [(first, 0, "")]), (320, 320, [(second, 1, "")])])
    assert shared_slots(measure(apart, 320, "letterbox", ANCHORS), ANCHORS) == 0


def test_anchors_are_weighed(tmp_path: Path) -> None:
    """Boxes of 1x1, 2x1 and 4x4 cells: IoU 1, 1/2 and 1."""
    boxes = [((0, 0, 32, 32), 0, ""), ((100, 0, 164, 32), 0, ""), ((100, 100, 228, 228), 0, "")]
    text = table(measure(shards(tmp_path, [(320, 320, boxes)]), 320, "stretch", ANCHORS))
    rows = {line[:28].strip(): line[28:] for line in text.splitlines()}
    assert rows["average IoU with anchors"] == "83.3%"
    assert rows["1.00 x 1.00 cells"] == "nearest to 2 (66.7%), average IoU 75.0%"
    assert rows["4.00 x 4.00 cells"] == "nearest to 1 (33.3%), average IoU 100.0%"


def test_image_files_are_looked_into(tmp_path: Path) -> None:
    black = Image.new("RGB", (64, 32))
    turned = Image.Exif()
    turned[0x0112] = 6
    options: list[dict[str, object]] = [{"progressive": True}, {"exif": turned}, {"format": "PNG"}]
    files = {}
    for number, option in enumerate(options):
        file = io.BytesIO()
        black.save(file, **{"format": "JPEG"} | option)  # type: ignore[arg-type]
        files[number] = file.getvalue()
    file = io.BytesIO()
    black.convert("L").save(file, format="JPEG")
    files[3] = file.getvalue()
    index = shards(tmp_path, [(64, 32, [])] * 5, files=files)
    text = table(measure(index, 64, "letterbox", None))
    kinds = text.partition("image files")[2].partition("of 5: ")[2].splitlines()[0]
    assert sorted(kinds.split(", ")) == [
        "1 PNG",
        "1 grey",
        "1 progressive (slow to decode)",
        "1 turned by EXIF (boxes refer to stored pixels)",
        "4 JPEG",
    ]


def test_an_unreadable_image_is_counted_not_fatal(index: ShardIndex) -> None:
    shard = index.folder / index.shards[0].name
    data = bytearray(shard.read_bytes())
    data[int(index.arrays["image_offsets"][0])] ^= 0xFF
    shard.write_bytes(data)
    assert "3 JPEG" in table(measure(index, 320, "letterbox", None))
    assert "1 unreadable" in table(measure(index, 320, "letterbox", None))


def test_frequent_image_sizes_come_first_and_rare_ones_in_one(tmp_path: Path) -> None:
    images: list[tuple[int, int, Objects]] = [(32 + number, 40, []) for number in range(12)]
    names, counts = image_sizes(shards(tmp_path, [*images, (50, 50, []), (50, 50, [])]))
    assert names[0] == "50x50" and names[-1] == "5 others" and len(names) == 9
    assert counts.tolist() == [2, *[1] * 7, 5]


def test_a_set_without_trained_objects_can_be_measured(tmp_path: Path) -> None:
    stats = measure(shards(tmp_path, [(64, 64, [((0, 0, 64, 64), 0, "difficult")])]), 64, "letterbox", ANCHORS)
    assert "of 3 classes" in table(stats) and "average IoU" not in table(stats)
    assert picture(stats).width > 1000


def test_the_picture_has_a_chart_more_with_anchors(index: ShardIndex) -> None:
    with_anchors, without = (np.asarray(picture(measure(index, 320, "letterbox", a))) for a in (ANCHORS, None))
    ink = [int((pixels != 255).any(-1).sum()) for pixels in (with_anchors, without)]
    assert ink[0] > ink[1] + 10_000


def test_the_command_prints_and_draws(index: ShardIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["stats", str(index.folder), "--side", "320", "--anchors", "1,1,4,4", "--png", str(tmp_path / "stats.png")])
    assert capsys.readouterr().out.rstrip("\n") == table(measure(index, 320, "letterbox", ANCHORS))
    with Image.open(tmp_path / "stats.png") as drawn:
        np.testing.assert_array_equal(drawn, picture(measure(index, 320, "letterbox", ANCHORS)))


def test_anchors_are_read_from_a_list_and_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("run: runs/a\nanchors: [1, 1.0, 4, 4]\n")
    np.testing.assert_array_equal(read_anchors(str(path)), ANCHORS)
    np.testing.assert_array_equal(read_anchors("1, 1.0,4,4"), ANCHORS)


@pytest.mark.parametrize("text", ["1,2,3", "1,x", "", "0,1", "1,nan", "1,-1", "none.yaml", "list.yaml", "bad.yaml"])
def test_what_is_no_anchors_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("none.yaml").write_text("run: runs/a\n")
    Path("list.yaml").write_text("- 1\n- 2\n")
    Path("bad.yaml").write_text("anchors: [1, ")
    with pytest.raises(ValueError, match=r"--anchors .*: expected 1\.32,1\.73.* or a YAML file with `anchors"):
        read_anchors(text)


def test_a_side_that_the_network_cannot_take_is_refused(index: ShardIndex) -> None:
    with pytest.raises(ValueError, match="side=400: expected a multiple of 32 px"):
        measure(index, 400, "letterbox", None)
