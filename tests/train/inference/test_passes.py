import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.inference.detector import load_detector
from train.inference.passes import AT_ONCE, Options, Speed, detect_pictures, detect_video
from train.inference.result_formats import Result


def options(out: Path, *, named: bool = True) -> Options:
    return Options(out, np.array([0.5, 0.5]), named)


def test_results_have_the_names_of_their_pictures_over_batches(trained_run: Path, tmp_path: Path) -> None:
    count = 2 * AT_ONCE["cpu"] + 1
    for number in range(count):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((32 + number, 64, 3), 9, np.uint8))
    (tmp_path / "3.png").write_text("damaged")
    named = [(f"picture {number}", tmp_path / f"{number}.png") for number in range(count)]
    speed = Speed()
    found = list(detect_pictures(load_detector(trained_run), named, options(tmp_path), speed))
    results = [each for each in found if isinstance(each, Result)]
    assert [(each.name, each.height) for each in results] == [
        (f"picture {number}", 32 + number) for number in range(count) if number != 3
    ]
    assert [str(each) for each in found if isinstance(each, Exception)] == [
        f"{tmp_path}/3.png does not decode: neither JPEG nor another known image format (first bytes b'dama')"
    ]
    assert all((tmp_path / f"picture {number}.jpg").exists() for number in (0, 8)) and speed.images == count - 1


def test_originals_that_results_are_linked_to_are_not_overwritten(trained_run: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((64, 64, 3), 9, np.uint8))
    before = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a.jpg").symlink_to(tmp_path / "a.jpg")
    (tmp_path / "out/b.jpg").hardlink_to(tmp_path / "a.jpg")
    named = [(name, tmp_path / "a.jpg") for name in ("a", "b")]
    list(detect_pictures(load_detector(trained_run), named, options(tmp_path / "out"), Speed()))
    assert (tmp_path / "a.jpg").read_bytes() == before
    assert all((tmp_path / f"out/{name}.jpg").read_bytes() != before for name in "ab")


def test_boxes_are_drawn_without_names_where_asked(trained_run: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((200, 200, 3), 9, np.uint8))
    for name, named in (("with", True), ("without", False)):
        list(detect_pictures(load_detector(trained_run), [(name, tmp_path / "a.png")], options(tmp_path, named=named),
                             Speed()))  # fmt: skip
    assert (tmp_path / "with.jpg").read_bytes() != (tmp_path / "without.jpg").read_bytes()


def test_a_video_without_frames_is_an_error(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    with pytest.raises(ValueError, match="found no frame"):
        list(detect_video(load_detector(trained_run), "a", tmp_path / "a.mp4", options(tmp_path), Speed()))
    assert [path.name for path in tmp_path.glob("a*")] == ["a.mp4"]


def test_speed_is_told_apart() -> None:
    speed = Speed()
    with speed.of("decoding"):
        time.sleep(0.02)
    speed.images = 2
    assert str(speed).startswith("2 images; for each decoding 1") and "the network 0.0 ms, drawing 0.0 ms" in str(speed)
