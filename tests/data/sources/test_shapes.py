import os
from pathlib import Path
from xml.etree import ElementTree

import cv2
import pytest

from data.sources.drawn_picture import CLASSES, MIN_SIDE_PX
from data.sources.rules.choose import Choice
from data.sources.shapes import draw_voc, is_drawn, main
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
    train, val = read_voc(drawn, ["2007:train"]), read_voc(drawn, ["2007:val"], Choice(classes=CLASSES))
    assert (len(train.records), len(val.records)) == (40, 8)
    assert train.classes == CLASSES == tuple(sorted(CLASSES))
    for record in [*train.records, *val.records]:
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


def test_pictures_of_others_are_not_drawn_over(tmp_path: Path) -> None:
    folder = tmp_path / "VOC2007" / "Annotations"
    folder.mkdir(parents=True)
    (folder / "000002.xml").write_text("<annotation>\n<source><database>Drawn sha")  # cut off
    draw_voc(tmp_path, train=1, val=0, num_workers=1)
    (tmp_path / "VOC2007/ImageSets/Main/train.txt").unlink()
    (folder / "000003.xml").write_text("<annotation><filename>000003.jpg</filename></annotation>")
    with pytest.raises(ValueError, match=r"000003\.xml: expected only drawn pictures in .*VOC2007, found another; cho"):
        draw_voc(tmp_path, train=1, val=0)


def test_command(tmp_path: Path) -> None:
    main([os.fspath(tmp_path), "--train", "2", "--val", "1", "--seed", "9"])
    assert len(read_voc(tmp_path, ["2007:train", "2007:val"]).records) == 3


def test_a_set_that_was_killed_between_its_folder_and_its_lists_is_drawn_again(tmp_path: Path) -> None:
    draw_voc(tmp_path, train=2, val=1, num_workers=1)
    whole = contents(tmp_path)
    for name in ("val", "train"):
        (tmp_path / "VOC2007" / "ImageSets" / "Main" / f"{name}.txt").unlink()
        assert not is_drawn(tmp_path)
        draw_voc(tmp_path, train=2, val=1, num_workers=1)
        assert contents(tmp_path) == whole and is_drawn(tmp_path)
