"""Contact sheets: what a person sees on them is what training gets."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from data.images.augment import AugmentConfig
from data.loading.config import DataConfig
from data.loading.filling.order import BatchPlan
from data.loading.filling.reader import BatchReader, SlottedPlan
from data.loading.filling.slots import Slots
from data.records import Annotations, Record
from data.shards.__main__ import main
from data.shards.index import ShardIndex
from data.shards.writing.write import write_shards
from data.view.contact_sheet import GAP_PX, LINE_PX, NUM_ACROSS, read_data_config, sheet
from data.view.drawing import class_colour

SIDE = 224
PLAIN = DataConfig(train="", val="", augment=AugmentConfig(hue=0, saturation=1, exposure=1))
MAGENTA = (255, 0, 255)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> ShardIndex:
    """Ten dark pictures, on each a magenta object of class 0, and a difficult one that cannot be seen."""
    folder = tmp_path_factory.mktemp("sheet")
    rng = np.random.default_rng(0)
    records = []
    for number in range(10):
        width, height = rng.integers(150, 400, 2).tolist()
        x1, y1 = rng.integers(30, 60, 2).tolist()
        x2, y2 = x1 + int(rng.integers(50, 80)), y1 + int(rng.integers(50, 80))
        image = np.full((height, width, 3), 20, np.uint8)
        image[y1:y2, x1:x2] = MAGENTA
        path = folder / f"picture{number}.png"
        cv2.imwrite(str(path), image)
        boxes = np.array([[x1, y1, x2, y2], [0, 0, 20, 20]], np.float64)
        marks = np.array([False, True]), np.zeros(2, np.bool_)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        labels = np.array([0, 1], np.int16)
        records.append(Record(path.stem, path.stem, path, width, height, boxes, areas, labels, *marks))
    return write_shards(Annotations("magenta", ("o", "speck"), (1, 2), records, {}), folder / "shards", workers=1)


def tiles(drawn: np.ndarray, side: int = SIDE) -> list[np.ndarray]:
    """The pictures on a sheet without their captions, row by row; empty places are left out."""
    found = []
    for top in range(0, drawn.shape[0], side + LINE_PX + GAP_PX):
        for left in range(0, drawn.shape[1], side + GAP_PX):
            tile = drawn[top + LINE_PX : top + LINE_PX + side, left : left + side]
            if (tile != 255).any():
                found.append(tile)
    return found


def extent(present: np.ndarray) -> list[int]:
    rows, columns = np.flatnonzero(present.any(1)), np.flatnonzero(present.any(0))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


@pytest.mark.parametrize("policy", ["place", "crop"])
@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_boxes_are_seen_on_their_objects(index: ShardIndex, policy: str, resize: str) -> None:
    augment = dataclasses.replace(PLAIN.augment, policy=policy)  # type: ignore[arg-type]
    config = dataclasses.replace(PLAIN, augment=augment, resize=resize)  # type: ignore[arg-type]
    found = tiles(sheet(index, config, side=SIDE, count=10, augmented=2, seed=0))
    assert len(found) == 30
    compared = 0
    for tile in found:
        magenta = (tile[..., 0] > 130) & (tile[..., 2] > 130) & (tile[..., 1] < 60)
        if magenta.sum() < 400:  # cropped away
            continue
        outline = np.linalg.norm(tile - np.array(class_colour(0)), axis=-1) < 30
        left, _, right, lower = extent(outline)  # the upper line has the name on it
        np.testing.assert_allclose((left, right, lower), np.array(extent(magenta))[[0, 2, 3]], atol=3)
        compared += 1
    assert compared > 20


def test_what_is_not_trained_on_is_only_on_the_first_picture(index: ShardIndex) -> None:
    found = tiles(sheet(index, PLAIN, side=SIDE, count=10, augmented=1, seed=0))
    dashes = [int((tile == 190).all(-1).sum()) for tile in found]
    assert min(dashes[0::2]) > 20 and max(dashes[1::2]) == 0


def test_augmented_pictures_are_what_the_reader_gives_for_the_first_epochs(index: ShardIndex) -> None:
    """Without objects, which hides the boxes: the pixels are those of the reader."""
    bare = dataclasses.replace(index, arrays=index.arrays | {"difficult": np.ones_like(index.arrays["difficult"])})
    config = DataConfig(train="", val="", resize="stretch")
    found = tiles(sheet(bare, config, side=SIDE, count=3, augmented=2, seed=5))
    reader = BatchReader(bare, Slots(1, 2, 50, 2 * SIDE * SIDE * 3), config.augment, seed=5, resize="stretch")
    pictures = {tile.tobytes() for tile in found}
    for sample in range(index.num_samples):
        reader[SlottedPlan(0, BatchPlan(np.array([sample, sample]), np.array([0, 1]), SIDE))]
        for canvas in reader.slots[0].pixels.reshape(2, -1):
            pictures.discard(canvas.tobytes())
    assert len(pictures) == 3  # the three that are not augmented


def test_the_seed_says_which_images(index: ShardIndex) -> None:
    def drawn(seed: int, count: int = 4) -> np.ndarray:
        return sheet(index, PLAIN, side=64, count=count, augmented=1, seed=seed)

    assert (drawn(0) == drawn(0)).all()
    assert any((drawn(0) != drawn(seed)).any() for seed in (1, 2))
    whole = drawn(0, count=1000)
    assert len(tiles(whole, 64)) == 20
    captions = {whole[top : top + LINE_PX, 0:64].tobytes() for top in range(0, whole.shape[0], 64 + LINE_PX + GAP_PX)}
    assert len(captions) == whole.shape[0] // (64 + LINE_PX + GAP_PX)  # every row begins with another image


@pytest.mark.parametrize(("augmented", "groups"), [(0, NUM_ACROSS), (1, NUM_ACROSS // 2), (NUM_ACROSS + 2, 1)])
def test_an_image_and_what_becomes_of_it_stay_in_one_row(index: ShardIndex, augmented: int, groups: int) -> None:
    drawn = sheet(index, PLAIN, side=64, count=groups + 1, augmented=augmented, seed=0)
    assert drawn.shape == (2 * (64 + LINE_PX + GAP_PX), groups * (augmented + 1) * (64 + GAP_PX), 3)


def test_nothing_to_show_is_refused(index: ShardIndex) -> None:
    for wrong in ({"count": 0}, {"side": 0}, {"augmented": -1}):
        options = {"side": 64, "count": 1, "augmented": 0} | wrong
        with pytest.raises(ValueError, match="expected at least 1, 1 and 0"):
            sheet(index, PLAIN, seed=0, **options)


# ---------------------------------------------------------------------------------------------------------- command


def test_the_command_draws_with_the_settings_of_a_run(index: ShardIndex, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("run: runs/a\ndata: {train: a, val: b, resize: stretch, augment: {policy: crop, hue: 0}}\n")
    assert read_data_config(config) == DataConfig(
        train="a", val="b", resize="stretch", augment=AugmentConfig(policy="crop", hue=0)
    )
    out = tmp_path / "sheet.png"
    options = ["--count", "2", "--augment", "--config", str(config), "--seed", "3", "--side", "64"]
    main(["show", str(index.folder), str(out), *options])
    with Image.open(out) as drawn:
        expected = sheet(index, read_data_config(config), side=64, count=2, augmented=1, seed=3)
        np.testing.assert_array_equal(np.asarray(drawn), expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: runs/a", "expected a config with a section `data`"),
        ("- 1", "expected YAML of `key: value` lines"),
        ("data: {train: a, val: b, sidez: [32]}", "sidez"),
        ("data: {train: a, val: b, augment: {jitter: much}}", "much"),
        ("data: {train: a, val: b, augment: {jitter: 0.9}}", "expected a share of the side, 0 <= jitter"),
        ("data: [", r"config\.yaml: "),
    ],
)
def test_a_config_that_is_none_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_data_config(tmp_path / "config.yaml")


def test_a_picture_format_that_is_none_is_an_error(index: ShardIndex, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.sheet: expected the name of a \.png or \.jpg file"):
        main(["show", str(index.folder), str(tmp_path / "a.sheet"), "--count", "1", "--side", "64"])
