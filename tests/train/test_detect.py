"""Detecting on files: boxes come back in the pixels of the image, wrong files end with a clear line."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from data.loading.config import DataConfig
from launch.environment import Environment
from tests.conftest import Weights
from train.config import Config, save
from train.darknet.weights import save_weights
from train.detect import list_images, load_detector, main, read_upright, unique_names
from train.model import ModelConfig, build_model
from train.run.checkpoint import Checkpoint, CheckpointConfig


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder whose network sees a ring of one cell's size in the middle of every image."""
    config = Config(
        run=str(tmp_path),
        data=DataConfig(train="", val=""),
        anchors=[2.0, 2.0],
        model=ModelConfig(variant="tiny-voc", width=1 / 16),
    )
    classes = ("circle", "ring")
    model = build_model(config.model, 2, 1)
    with torch.no_grad():
        model.output.weight.zero_()
        model.output.bias.copy_(torch.tensor([0.0, 0, 0, 0, 4.0, -5.0, 5.0]))
    save(config, tmp_path / "config.yaml")
    checkpoint = Checkpoint(
        tmp_path / "checkpoints", CheckpointConfig(), Environment(), config.network(classes), step=Weights(model)
    )
    checkpoint.save(64, best=True)
    checkpoint.wait()
    return tmp_path


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    """Brighter to the right, redder below: which way up it is can be told."""
    pixels = np.full((40, 64, 3), 60, np.uint8)
    pixels[:, :, 1] += np.arange(64, dtype=np.uint8)[None] * 2
    pixels[:, :, 0] += np.arange(40, dtype=np.uint8)[:, None] * 4
    return Image.fromarray(pixels)


def test_boxes_are_pixels_of_the_image(run: Path) -> None:
    (found,) = load_detector(run)([np.zeros((300, 600, 3), np.uint8)], 0.5)
    assert set(found.labels) == {1} and found.scores[0] == pytest.approx(0.982, abs=0.01)
    middle = np.abs(found.boxes_xyxy.reshape(-1, 2, 2).mean(1) - (300, 150)).sum(1).argmin()
    # 2 cells of 32 px on an input of 416 px that holds 600: 64 * 600 / 416
    np.testing.assert_allclose(found.boxes_xyxy[middle], [254, 104, 346, 196], atol=1)
    assert found.boxes_xyxy.min() >= 0 and found.boxes_xyxy[:, 2].max() <= 600 and found.boxes_xyxy[:, 3].max() <= 300


def test_images_of_different_sizes_are_one_batch(run: Path) -> None:
    detector = load_detector(run)
    images = [np.full(shape, 90, np.uint8) for shape in ((300, 600, 3), (50, 40, 3), (416, 416, 3))]
    together = detector(images, 0.5)
    for image, found in zip(images, together, strict=True):
        (alone,) = detector([image], 0.5)
        np.testing.assert_allclose(found.boxes_xyxy, alone.boxes_xyxy, rtol=1e-5)


@pytest.mark.gpu
def test_a_gpu_finds_the_same(run: Path) -> None:
    image = np.random.default_rng(0).integers(0, 255, (300, 600, 3), dtype=np.uint8)
    (there,), (here,) = load_detector(run, device="cuda")([image], 0.5), load_detector(run)([image], 0.5)
    np.testing.assert_allclose(there.boxes_xyxy, here.boxes_xyxy, atol=0.1)


def test_pictures_are_drawn_and_all_detections_are_in_one_file(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("frame10", "frame9"):
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((200, 300, 3), 128, np.uint8))
    main([str(run), str(tmp_path / "frame*.png"), "--out", str(tmp_path / "out")])
    records = json.loads((tmp_path / "out/detections.json").read_text())
    assert list(records) == [f"{tmp_path}/frame9.png", f"{tmp_path}/frame10.png"]
    record = records[f"{tmp_path}/frame9.png"]
    assert (record["picture"], record["width"], record["height"]) == ("frame9.jpg", 300, 200)
    for each in record["detections"]:
        assert each["class"] == "ring" and each["score"] == pytest.approx(0.982, abs=0.01)
        left, top, right, bottom = each["box_xyxy_px"]
        assert 0 <= left < right <= 300 and 0 <= top < bottom <= 200  # none in the border of the letterbox
    assert 13 * 9 <= len(record["detections"]) < 13 * 13
    drawn = cv2.imread(str(tmp_path / "out/frame9.jpg"))
    assert drawn.shape == (200, 300, 3) and drawn.std() > 10
    assert f"frame9.png: {len(record['detections'])} ring\n" in capsys.readouterr().out


def test_thresholds_and_size_are_chosen_on_the_command_line(run: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((200, 200, 3), 128, np.uint8))

    def count(*options: str) -> int:
        main([str(run), str(tmp_path / "grey.png"), "--out", str(tmp_path / "out"), *options])
        (record,) = json.loads((tmp_path / "out/detections.json").read_text()).values()
        return len(record["detections"])

    # boxes of two cells in each of 13 x 13 cells: 1/3 of two neighbours is common
    assert count("evaluate.iou_threshold=0.9") == count("evaluate.iou_threshold=0.4") == 169
    assert count("evaluate.iou_threshold=0.3") < 169
    assert count("evaluate.iou_threshold=0.9", "evaluate.side=96") == 9
    assert count("--threshold", "0.99") == 0
    assert count("evaluate.max_detections=5") == 5


def test_darknets_weights_detect_too(run: Path, tmp_path: Path) -> None:
    (tmp_path / "plain.yaml").write_text(
        re.sub("classes: null", "classes: [hole, ring]", (run / "config.yaml").read_text())
    )
    save_weights(load_detector(run).model, tmp_path / "net.weights")
    detector = load_detector(tmp_path / "plain.yaml", [f"weights={tmp_path}/net.weights"])
    assert detector.classes == ("hole", "ring")
    image = np.zeros((300, 600, 3), np.uint8)
    (found,), (expected,) = detector([image], 0.5), load_detector(run)([image], 0.5)
    np.testing.assert_array_equal(found.boxes_xyxy, expected.boxes_xyxy)


def test_folders_and_globs_are_read_in_the_order_of_numbers(tmp_path: Path) -> None:
    for name in ("a/f2.jpg", "a/f10.JPG", "a/f1.png", "a/notes.txt", "b/f1.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    a, b = tmp_path / "a", tmp_path / "b"
    assert list_images([str(a)]) == [a / "f1.png", a / "f2.jpg", a / "f10.JPG"]
    assert list_images([str(b), str(tmp_path / "*/f1.*")]) == [b / "f1.jpg", a / "f1.png"]
    with pytest.raises(ValueError, match=r"none\*: expected a picture, a folder with some \(\.jpg, .*\) or a glob"):
        list_images([str(tmp_path / "none*")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: expected a picture"):
        list_images([str(tmp_path / "empty")])


def test_no_picture_overwrites_another() -> None:
    paths = [Path(name) for name in ("a/x.jpg", "b/x.jpg", "x.png", "x-2.jpg", "y.jpg")]
    assert unique_names(paths) == ["x", "x-2", "x-3", "x-2-2", "y"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_viewers_turn_them(photograph: Image.Image, tmp_path: Path, orientation: int) -> None:
    flips = Image.Transpose
    turned = [flips.FLIP_LEFT_RIGHT, flips.ROTATE_180, flips.FLIP_TOP_BOTTOM, flips.TRANSPOSE, flips.ROTATE_90]
    turned += [flips.TRANSVERSE, flips.ROTATE_270]  # by 2 .. 8: what a camera stores that was held so
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = photograph if orientation == 1 else photograph.transpose(turned[orientation - 2])
    stored.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    upright = read_upright(tmp_path / "turned.jpg")
    assert upright.shape == (40, 64, 3)
    assert np.abs(upright.astype(int) - np.asarray(photograph)).mean() < 4


@pytest.mark.parametrize(
    ("mode", "name"), [("L", "x.jpg"), ("CMYK", "x.jpg"), ("RGBA", "x.png"), ("P", "x.png"), ("1", "x.tif")]
)
def test_pictures_of_other_colours_are_seen_in_rgb(
    photograph: Image.Image, tmp_path: Path, mode: str, name: str
) -> None:
    photograph.convert(mode).save(tmp_path / name)
    found = read_upright(tmp_path / name)
    expected = np.asarray(photograph.convert(mode).convert("RGB"))
    assert found.shape == (40, 64, 3) and np.abs(found.astype(int) - expected).mean() < 4


def test_wrong_files_end_with_a_clear_line(run: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("not a picture")
    with pytest.raises(ValueError, match=r"text\.jpg does not decode: neither JPEG nor another known image format"):
        main([str(run), str(text)])
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((20, 20, 3), 128, np.uint8))
    with pytest.raises(ValueError, match=r"text\.jpg does not decode"):  # the others are done all the same
        main([str(run), str(text), str(tmp_path / "grey.png"), "--out", str(tmp_path / "out")])
    assert list(json.loads((tmp_path / "out/detections.json").read_text())) == [f"{tmp_path}/grey.png"]
    assert (tmp_path / "out/grey.jpg").exists()
    with pytest.raises(ValueError, match="no config at"):
        main([str(tmp_path / "elsewhere"), str(text)])
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match="no checkpoint under"):
        main([str(run), str(text)])
