"""Boxes come back in the pixels of the image, whatever the images of a batch."""

import re
from pathlib import Path

import numpy as np
import pytest

from train.darknet.weights import save_weights
from train.inference.detector import load_detector


def test_boxes_are_pixels_of_the_image(trained_run: Path) -> None:
    (found,) = load_detector(trained_run)([np.zeros((300, 600, 3), np.uint8)], 0.5)
    assert set(found.labels) == {1} and found.scores[0] == pytest.approx(0.982, abs=0.01)
    middle = np.abs(found.boxes_xyxy.reshape(-1, 2, 2).mean(1) - (300, 150)).sum(1).argmin()
    # 2 cells of 32 px on an input of 416 px that holds 600: 64 * 600 / 416
    np.testing.assert_allclose(found.boxes_xyxy[middle], [254, 104, 346, 196], atol=1)
    assert found.boxes_xyxy.min() >= 0 and found.boxes_xyxy[:, 2].max() <= 600 and found.boxes_xyxy[:, 3].max() <= 300


def test_an_input_need_not_be_square(trained_run: Path) -> None:
    detector = load_detector(trained_run, ["evaluate.height=192"])
    (found,) = detector([np.zeros((384, 832, 3), np.uint8)], 0.5)  # twice the input
    low, high = found.boxes_xyxy[:, :2], found.boxes_xyxy[:, 2:]
    whole = (low > 0).all(1) & (high < (832, 384)).all(1)
    assert whole.any()
    np.testing.assert_allclose((high - low)[whole], 2 * 64, atol=2)  # 2 cells, here of 64 px
    np.testing.assert_allclose(((low + high) / 2 / 64 % 1)[whole], 0.5, atol=0.02)  # in the middle of a cell
    assert high[:, 0].max() > 800 and high[:, 1].max() > 352


def test_images_of_different_sizes_are_one_batch(trained_run: Path) -> None:
    detector = load_detector(trained_run)
    images = [np.full(shape, 90, np.uint8) for shape in ((300, 600, 3), (50, 40, 3), (416, 416, 3))]
    together = detector(images, 0.5)
    for image, found in zip(images, together, strict=True):
        (alone,) = detector([image], 0.5)
        np.testing.assert_allclose(found.boxes_xyxy, alone.boxes_xyxy, rtol=1e-5)


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (np.zeros((60, 40, 3), np.float32), r"float32 \[60, 40, 3\]"),
        (np.zeros((60, 40), np.uint8), r"uint8 \[60, 40\]"),
        (np.zeros((60, 40, 4), np.uint8), r"uint8 \[60, 40, 4\]"),
        (np.zeros((0, 40, 3), np.uint8), r"uint8 \[0, 40, 3\]"),
        ("picture.jpg", "str"),
    ],
)
def test_what_is_no_picture_is_refused(trained_run: Path, image: object, found: str) -> None:
    detector = load_detector(str(trained_run))
    good = np.zeros((60, 40, 3), np.uint8)
    with pytest.raises(ValueError, match=rf"image 1 of the list: expected a uint8 array \[H, W, 3\].*, found {found}"):
        detector([good, image], 0.5)  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"image 0 of the list: .* found uint8 \[40, 3\]"):
        detector(good, 0.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected one threshold or 2, found 3"):
        detector([good], np.zeros(3))


@pytest.mark.gpu
def test_a_gpu_finds_the_same(trained_run: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (300, 600, 3), dtype=np.uint8)
    (there,), (here,) = (
        load_detector(trained_run, device="cuda")([image], 0.5),
        load_detector(trained_run)([image], 0.5),
    )
    np.testing.assert_allclose(there.boxes_xyxy, here.boxes_xyxy, atol=0.1)


def test_darknets_weights_detect_too(trained_run: Path, tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text(
        re.sub("classes: null", "classes: [hole, ring]", (trained_run / "config.yaml").read_text())
    )
    save_weights(load_detector(trained_run).model, tmp_path / "net.weights")
    detector = load_detector(tmp_path / "plain.yaml", [f"weights={tmp_path}/net.weights"])
    assert detector.classes == ("hole", "ring")
    image = np.zeros((300, 600, 3), np.uint8)
    (found,), (expected,) = detector([image], 0.5), load_detector(trained_run)([image], 0.5)
    np.testing.assert_array_equal(found.boxes_xyxy, expected.boxes_xyxy)


def test_each_class_has_a_threshold_of_its_own(trained_run: Path) -> None:
    detector, image = load_detector(trained_run), np.zeros((300, 600, 3), np.uint8)
    circles_alone, all_of_it = detector([image, image], np.array([0.0, 0.99])), detector([image], 0.00001)[0]
    assert set(all_of_it.labels) == {0, 1}
    assert set(circles_alone[0].labels) == {0}
    (few,) = load_detector(trained_run, ["evaluate.max_detections=3"])([image], np.array([0.0, 0.5]))
    assert len(few.labels) == 3 and (few.scores[:-1] >= few.scores[1:]).all()


def test_no_images_are_no_pass(trained_run: Path) -> None:
    assert load_detector(trained_run)([], 0.5) == []
