import os
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from data.sources.shapes import CLASSES, MIN_SIDE_PX, background, draw, draw_voc, main, paint, place
from data.sources.voc import read_voc


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn")
    draw_voc(root, train=40, val=8, seed=3, num_workers=1)
    return root


def test_same_bytes_for_any_number_of_workers(drawn: Path, tmp_path: Path) -> None:
    draw_voc(tmp_path, train=40, val=8, seed=3, num_workers=2)
    assert contents(tmp_path) == contents(drawn)
    assert len(contents(drawn)) == 48 * 2 + 2


def test_a_picture_does_not_depend_on_how_many_there_are(drawn: Path, tmp_path: Path) -> None:
    draw_voc(tmp_path, train=2, val=1, seed=3, num_workers=1)
    for name in ("JPEGImages/000003.jpg", "Annotations/000003.xml"):
        assert (tmp_path / "VOC2007" / name).read_bytes() == (drawn / "VOC2007" / name).read_bytes()


def test_another_seed_draws_other_pictures(drawn: Path, tmp_path: Path) -> None:
    draw_voc(tmp_path, train=1, val=0, seed=4, num_workers=1)
    name = Path("VOC2007") / "JPEGImages" / "000001.jpg"
    assert (tmp_path / name).read_bytes() != (drawn / name).read_bytes()
    assert len({path.read_bytes() for path in (drawn / name.parent).iterdir()}) == 48


def test_voc_reads_it_back(drawn: Path) -> None:
    train, val = read_voc(drawn, ["2007:train"]), read_voc(drawn, ["2007:val"], CLASSES)
    assert (len(train.records), len(val.records)) == (40, 8)
    assert train.classes == CLASSES == tuple(sorted(CLASSES))
    for record in train.records + val.records:
        image = cv2.imread(str(record.image))
        assert image is not None and image.shape == (record.height, record.width, 3)
        low, high = record.boxes_xyxy_px[:, :2], record.boxes_xyxy_px[:, 2:]
        assert 1 <= len(low) <= 6
        assert (low >= 0).all() and (high <= (record.width, record.height)).all() and (high - low >= MIN_SIDE_PX).all()


def test_elements_of_an_annotation(drawn: Path) -> None:
    root = ElementTree.parse(drawn / "VOC2007" / "Annotations" / "000001.xml").getroot()
    assert {child.tag for child in root} == {"folder", "filename", "source", "size", "segmented", "object"}
    assert root.findtext("filename") == "000001.jpg"
    assert [child.tag for child in root.iter("object").__next__()] == [
        "name",
        "pose",
        "truncated",
        "difficult",
        "bndbox",
    ]


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("centre_px", [(60.3, 50.8), (4.5, 66.0), (97.2, 1.4)])
def test_box_is_that_of_the_coloured_pixels(name: str, centre_px: tuple[float, float]) -> None:
    rng = np.random.default_rng(5)
    for _ in range(20):
        matrix = rng.uniform(-30, 30, (2, 2))
        shape = place(name, matrix, np.array(centre_px), (100, 80), False)
        if shape is None:
            continue
        canvas = np.full((80, 100, 3), 128.0, np.float32)
        paint(canvas, shape, rng)
        changed = np.abs(canvas - 128).max(-1) > 0
        rows, columns = np.flatnonzero(changed.any(1)) + 1, np.flatnonzero(changed.any(0)) + 1
        assert shape.box == (columns[0], rows[0], columns[-1], rows[-1])
        for edge in (shape.alpha[0], shape.alpha[-1], shape.alpha[:, 0], shape.alpha[:, -1]):
            assert edge.max() >= 0.5


def test_box_of_a_square_is_where_geometry_says() -> None:
    half = np.eye(2) * 10 * np.sqrt(2) @ np.array([[1, -1], [1, 1]]) / np.sqrt(2)  # side 20 px, edges upright
    shape = place("square", half, np.array([50.0, 40.0]), (100, 80), False)
    assert shape is not None
    assert shape.box == (41, 31, 60, 50)  # continuous edges 40..60, 30..50
    assert shape.inside == 1
    cut = place("square", half, np.array([0.0, 40.0]), (100, 80), False)
    assert cut is not None
    assert cut.box == (1, 31, 10, 50)
    assert cut.inside == pytest.approx(0.5, abs=0.02)


def test_nothing_is_placed_outside_or_too_small() -> None:
    assert place("circle", np.eye(2) * 20, np.array([150.0, 40.0]), (100, 80), False) is None
    assert place("circle", np.eye(2) * 20, np.array([-300.0, -300.0]), (100, 80), False) is None
    assert place("circle", np.eye(2), np.array([50.0, 40.0]), (100, 80), False) is None


def test_objects_stay_visible_and_differ_from_the_background() -> None:
    difficult = 0
    for number in range(150):
        image, shapes = draw(np.random.default_rng(number))
        assert 1 <= len(shapes) <= 6
        owner = np.full(image.shape[:2], -1)
        for index, shape in enumerate(shapes):
            owner[shape.window][shape.alpha >= 0.5] = index
            difficult += shape.difficult
        for index, shape in enumerate(shapes):
            assert (owner == index).sum() >= 0.5 * (shape.alpha >= 0.5).sum()
            assert shape.inside >= 0.4
    assert 3 <= difficult <= 60


def test_background_has_no_flat_picture() -> None:
    canvas = background(200, 100, np.random.default_rng(0))
    assert canvas.shape == (100, 200, 3) and canvas.std((0, 1)).min() > 1


def test_only_the_classes_asked_for() -> None:
    names = {shape.name for number in range(20) for shape in draw(np.random.default_rng(number), ["ring", "star"])[1]}
    assert names == {"ring", "star"}


def test_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected train >= 1, val >= 0, seed >= 0; found 0, 1, 0; correct them"):
        draw_voc(tmp_path, train=0, val=1)
    with pytest.raises(ValueError, match=r"expected classes among circle, .*; found cube; choose from these"):
        draw_voc(tmp_path, train=1, val=1, classes=["cube", "ring"])
    with pytest.raises(ValueError, match=r"expected classes among circle, .*; found none; choose from these"):
        draw_voc(tmp_path, train=1, val=1, classes=[])
    assert not list(tmp_path.iterdir())


def test_a_finished_set_is_not_drawn_over_and_an_unfinished_one_is(drawn: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Main: expected no finished set, found one; remove it or choose another"):
        draw_voc(drawn, train=1, val=1)
    (tmp_path / "VOC2007" / "Annotations").mkdir(parents=True)
    draw_voc(tmp_path, train=1, val=0, num_workers=1)
    assert len(read_voc(tmp_path, ["2007:train"]).records) == 1


def test_command(tmp_path: Path) -> None:
    main([os.fspath(tmp_path), "--train", "2", "--val", "1", "--seed", "9"])
    assert len(read_voc(tmp_path, ["2007:train", "2007:val"]).records) == 3
