"""Sides by the smallest objects; what makes a set hard is found, and nothing is made up of a good one."""

from pathlib import Path

import pytest

from data.view.statistics.advice import choose_side, hard_points, shorter_sides
from tests.data.pictures import Objects, black_images

GOOD: Objects = [((0, 0, 100, 100), 0, ""), ((100, 0, 300, 100), 1, ""), ((0, 100, 100, 200), 2, "")]


def one_of(size: float, count: int = 1) -> Objects:
    return [((0, 0, size, 2 * size), 0, "")] * count


@pytest.mark.parametrize(
    ("size", "expected"),
    [(40, 384), (60, 256), (10, 608), (200, 192), (39, 416), (1e-320, 608)],  # 24 px of an input for so many of 640
)
def test_the_smallest_objects_decide_the_side(tmp_path: Path, size: float, expected: int) -> None:
    index = black_images(tmp_path, [(640, 480, one_of(size))] * 2)
    assert shorter_sides(index) == pytest.approx([size / 640] * 2)
    assert choose_side(index) == expected
    assert expected in (192, 608) or size / 640 * expected >= 24 > size / 640 * (expected - 32)


def test_a_few_small_ones_do_not(tmp_path: Path) -> None:
    index = black_images(tmp_path, [(640, 480, one_of(60, 97)), (640, 480, one_of(5, 3))])
    assert choose_side(index) == 256


def test_the_many_of_one_class_do_not_hide_the_few_of_another(tmp_path: Path) -> None:
    """As in blood: a class with a fourteenth of the objects is a third of mAP."""
    many, few = one_of(90, 90), [((0, 0, 30, 30), 1, "")] * 3
    index = black_images(tmp_path, [(640, 480, [*many, *few])])
    assert choose_side(index) == 512


def test_images_are_not_blown_up(tmp_path: Path) -> None:
    assert choose_side(black_images(tmp_path, [(256, 192, one_of(5))])) == 256


def test_without_anything_to_train_on_there_is_no_side(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected objects to train on, found none"):
        choose_side(black_images(tmp_path, [(64, 64, [((0, 0, 64, 64), 0, "difficult")])]))


def test_a_good_set_is_not_complained_about(tmp_path: Path) -> None:
    index = black_images(tmp_path, [(320, 200, GOOD)] * 100)
    assert hard_points(index, index, 320) == []


def test_what_makes_a_set_hard_is_said(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    (tmp_path / "val").mkdir()
    few: Objects = [((0, 0, 6, 90), 0, ""), ((0, 0, 90, 90), 1, "difficult")]
    train = black_images(tmp_path / "train", [(320, 200, few)] * 3 + [(320, 200, [])] * 5)
    val = black_images(tmp_path / "val", [(320, 200, GOOD[2:])] * 4)
    found = hard_points(train, val, 320)
    for part in (
        "class cat: 3 objects to learn from",
        "class cat: no object in --val",
        "class dog: 3 objects, difficult or crowd, none to train on",
        "class owl: no object, but 4 in --val",
        "100% of objects are below 8 px in an input of 320 px",
        "62% of images show no object",
        "8 images: the network will memorize them",
    ):
        assert any(part in point for point in found), part
    assert any("no --val" in point for point in hard_points(train, None, 320))


def test_of_many_hard_classes_only_some_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.view.statistics.advice.NAMED", 1)
    index = black_images(tmp_path, [(320, 200, GOOD)] * 10)
    assert hard_points(index, index, 320)[:2] == [
        "class cat: 10 objects to learn from; expect little below 20",
        "2 more such sentences on classes: python -m data.shards stats counts their objects",
    ]
