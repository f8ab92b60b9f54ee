"""Counts and sizes of a set small enough to know by heart."""

from pathlib import Path

import numpy as np
import pytest

from data.anchors import sizes_cells
from data.shards.index import ShardIndex
from data.view.statistics.measure import (
    class_counts,
    coco_sizes,
    image_sizes,
    measure,
    read_anchors,
    shared_slots,
)
from tests.data.pictures import Objects, black_images

ANCHORS = np.array([[1.0, 1.0], [4.0, 4.0]])  # cells


def test_objects_are_counted_by_class_and_kind(four_images: ShardIndex) -> None:
    np.testing.assert_array_equal(class_counts(four_images), [[3, 0, 1], [1, 1, 0], [0, 0, 0]])


def test_boxes_are_measured_where_training_measures_them(four_images: ShardIndex) -> None:
    for resize in ("letterbox", "stretch"):
        stats = measure(four_images, 416, resize, None)  # type: ignore[arg-type]
        np.testing.assert_allclose(stats.sizes_cells, sizes_cells(four_images, 416, resize), rtol=1e-5)  # type: ignore[arg-type]
    at = {four_images.key(sample): sample for sample in range(4)}["image3"]
    letterboxed = measure(four_images, 320, "letterbox", None)
    np.testing.assert_allclose(
        letterboxed.boxes_xyxy[letterboxed.samples == at] * 320, [[16, 80 + 96, 80, 80 + 160]], atol=1e-4
    )
    stretched = measure(four_images, 320, "stretch", None)
    np.testing.assert_allclose(stretched.boxes_xyxy[stretched.samples == at] * 320, [[16, 192, 80, 320]], atol=1e-4)


def test_small_medium_and_large_go_by_the_stated_area(four_images: ShardIndex) -> None:
    """The areas are half of the boxes': 64 x 64 px with an area of 2048 is medium, 32 x 32 px with 512 is small."""
    assert list(coco_sizes(measure(four_images, 320, "letterbox", None)).values()) == [1, 1, 2]


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
    together = black_images(tmp_path, [(320, 320, [(first, 0, ""), (second, 1, "")])])
    assert shared_slots(measure(together, 320, "letterbox", ANCHORS), ANCHORS) == shared
    (tmp_path / "apart").mkdir()
    apart = black_images(tmp_path / "apart", [(320, 320, [(first, 0, "")]), (320, 320, [(second, 1, "")])])
    assert shared_slots(measure(apart, 320, "letterbox", ANCHORS), ANCHORS) == 0


def test_frequent_image_sizes_come_first_and_rare_ones_in_one(tmp_path: Path) -> None:
    images: list[tuple[int, int, Objects]] = [(32 + number, 40, []) for number in range(12)]
    names, counts = image_sizes(black_images(tmp_path, [*images, (50, 50, []), (50, 50, [])]))
    assert names[0] == "50x50" and names[-1] == "5 others" and len(names) == 9
    assert counts.tolist() == [2, *[1] * 7, 5]


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


def test_a_side_that_the_network_cannot_take_is_refused(four_images: ShardIndex) -> None:
    with pytest.raises(ValueError, match="side=400: expected a multiple of 32 px"):
        measure(four_images, 400, "letterbox", None)
