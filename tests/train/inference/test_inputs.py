"""Which files are meant, in which order, and which way up they are."""

import os
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from train.inference import inputs
from train.inference.inputs import is_picture, is_video, list_inputs, read_upright, require_own_folder, unique_names

OUT = Path("/nowhere/out")


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    """Brighter to the right, redder below: which way up it is can be told."""
    pixels = np.full((40, 64, 3), 60, np.uint8)
    pixels[:, :, 1] += np.arange(64, dtype=np.uint8)[None] * 2
    pixels[:, :, 0] += np.arange(40, dtype=np.uint8)[:, None] * 4
    return Image.fromarray(pixels)


def test_folders_and_globs_are_read_in_the_order_of_numbers(tmp_path: Path) -> None:
    for name in ("a/f2.jpg", "a/f10.JPG", "a/f1.png", "a/notes.txt", "b/f1.jpg", "b/deep/er/f0.jpg", "b/f3.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).touch()
    a, b = tmp_path / "a", tmp_path / "b"
    assert list_inputs([str(a)], OUT) == [a / "f1.png", a / "f2.jpg", a / "f10.JPG"]
    assert list_inputs([str(b)], OUT) == [b / "deep/er/f0.jpg", b / "f1.jpg", b / "f3.mp4"]
    assert list_inputs([str(b / "f1.jpg"), str(tmp_path / "*/f1.*")], OUT) == [b / "f1.jpg", a / "f1.png"]
    with pytest.raises(ValueError, match=r"none\*: expected a picture, a video, a folder with some \(\.jpg, .*\) or a"):
        list_inputs([str(tmp_path / "none*")], OUT)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty: expected a picture"):
        list_inputs([str(tmp_path / "empty")], OUT)


def test_the_folder_of_the_pictures_is_no_folder_for_results(tmp_path: Path) -> None:
    for name in ("a.jpg", "seen/a.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for out in (tmp_path, tmp_path / "link", tmp_path / "seen/.."):
        for name in (tmp_path, tmp_path / "a.jpg", tmp_path / "*.jpg"):
            with pytest.raises(ValueError, match=r"expected another folder than that of .*, whose pictures would be"):
                list_inputs([str(name)], out)
    # results of an earlier time in a folder inside are no pictures of it
    assert list_inputs([str(tmp_path)], tmp_path / "seen") == [tmp_path / "a.jpg"]


def test_kinds_go_by_their_suffix() -> None:
    assert is_picture(Path("a.JPeG")) and is_video(Path("b.MP4"))
    assert not is_picture(Path("a.mp4")) and not is_video(Path("jpg"))


def test_pictures_of_others_in_the_folder_for_results_are_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "one.jpg").touch()
    for path in (Path("a/one.png"), Path("two.jpg")):
        expected = pytest.raises(ValueError, match=r"one\.jpg there would be") if path.stem == "one" else nullcontext()
        with expected:
            require_own_folder(tmp_path, [path], ["json"])
    (tmp_path / "detections.csv").touch()  # results of an earlier time are
    require_own_folder(tmp_path, [Path("a/one.png")], ["json"])


@pytest.mark.parametrize(
    ("name", "text", "kept"),
    [
        ("detections.json", "{}", False),  # a sign of earlier results
        ("detections-of-mine.json", "{}", False),  # is not written
        ("classes.txt", "cat\n", True),
        ("labels/one.txt", "0 .5 .5 .1 .1\n", True),
        ("labels/one.txt", "0 .5 .5 .1 .1 .9\n", False),
        ("labels/one.txt", "", False),
        ("labels/another.txt", "0 .5 .5 .1 .1\n", False),
        ("voc/one.xml", "<annotation><object><name>cat</name></object></annotation>", True),
        ("voc/one.xml", "<annotation><object><score>1</score></object></annotation>", False),
        ("voc/film-000000.xml", "<annotation><object><name>cat</name></object></annotation>", True),
    ],
)
@pytest.mark.parametrize("before", [False, True])
def test_annotations_are_never_overwritten(tmp_path: Path, name: str, text: str, kept: bool, before: bool) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    if before and name != "classes.txt":
        (tmp_path / "detections.csv").touch()
    expected = pytest.raises(ValueError, match=f"{name} there would be overwritten") if kept else nullcontext()
    with expected:
        require_own_folder(tmp_path, [Path("a/one.jpg"), Path("film.mp4")], ["json", "yolo", "voc"])


def test_no_frame_overwrites_a_picture() -> None:
    assert unique_names([Path("film.mp4"), Path("film-000003.jpg")]) == ["film-2", "film-000003"]
    assert unique_names([Path("film.mp4"), Path("film-3.jpg")]) == ["film", "film-3"]


def test_no_picture_overwrites_another() -> None:
    paths = [Path(name) for name in ("a/x.jpg", "b/x.jpg", "x.png", "x-2.jpg", "y.jpg", "Y.jpg")]
    assert unique_names(paths) == ["x", "x-2", "x-3", "x-2-2", "y", "Y-2"]


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


@pytest.mark.parametrize("suffix", [".tif", ".png", ".webp"])
def test_other_formats_are_turned_once(photograph: Image.Image, tmp_path: Path, suffix: str) -> None:
    """The decoder of TIFF turns by itself."""
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph.transpose(Image.Transpose.ROTATE_90).save(tmp_path / f"turned{suffix}", exif=exif, quality=95)
    upright = read_upright(tmp_path / f"turned{suffix}")
    assert upright.shape == (40, 64, 3) and np.abs(upright.astype(int) - np.asarray(photograph)).mean() < 4


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


def test_what_may_never_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for path in (tmp_path / "pipe.jpg", Path("/dev/zero")):
        with pytest.raises(ValueError, match=rf"{path} does not decode: expected a file, found a pipe or a device"):
            read_upright(path)
    (tmp_path / "large.jpg").write_bytes(bytes(11))
    monkeypatch.setattr(inputs, "MAX_IMAGE_BYTES", 10)
    with pytest.raises(ValueError, match=r"large\.jpg does not decode: expected at most 10 bytes, found 11"):
        read_upright(tmp_path / "large.jpg")
