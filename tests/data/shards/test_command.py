"""The command: what it prints, and that every refusal ends with its reason."""

import contextlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from data.shards.__main__ import main
from data.shards.index import ShardIndex
from data.shards.verify import verify
from tests.data.pictures import jpeg, note, write_tar


def test_the_command_prints_what_it_made(drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    main(["voc", str(drawn), "--split", "2007:val", str(out), "--workers", "1"])
    printed = capsys.readouterr().out
    objects = len(ShardIndex.load(out).arrays["labels"])
    assert printed.startswith(f"{out}: 21 images, {objects} objects (")
    assert "in 1 shard, from voc VOC2007:val" in printed
    for name in ShardIndex.load(out).classes:
        assert f"  {name} " in printed
    main(["verify", str(out), "--workers", "1"])
    assert capsys.readouterr().out == printed


def test_the_command_takes_the_classes_in_their_order(drawn: Path, tmp_path: Path) -> None:
    classes = "triangle,star,square,ring,cross,circle"
    main(["voc", str(drawn), "--split", "2007:val", str(tmp_path / "out"), "--workers", "1", "--classes", classes])
    assert ShardIndex.load(tmp_path / "out").classes == tuple(classes.split(","))


def test_the_command_makes_the_index_of_tars_made_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tar(tmp_path / "a.tar", [("x.jpg", jpeg()), ("x.json", note())])
    main(["index", str(tmp_path), "--workers", "1", "--classes", "dog,cat"])
    printed = capsys.readouterr().out
    assert printed.startswith(f"{tmp_path}: 1 image, 1 object (0 difficult, 0 crowd) in 1 shard, from tars at")
    assert ShardIndex.load(tmp_path).classes == ("dog", "cat")
    main(["verify", str(tmp_path), "--workers", "1"])
    assert capsys.readouterr().out == printed


def test_the_command_ends_with_the_reason(drawn: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^no shards at "):
        main(["verify", str(tmp_path)])
    with pytest.raises(ValueError, match=r"^.*expected tars of KEY\.jpg and KEY\.json, found no \*\.tar"):
        main(["index", str(tmp_path)])
    with pytest.raises(ValueError, match=r"^.*already holds a finished set"):
        main(["voc", str(drawn), "--split", "2007:val", str(shards / "val")])
    with pytest.raises(ValueError, match=r"^.*expected an image set"):
        main(["voc", str(drawn), "--split", "2007:test", str(tmp_path / "out")])


def test_the_command_leaves_out_corrupt_images_where_asked(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(drawn, tmp_path / "root")
    names = (root / "VOC2007" / "ImageSets" / "Main" / "val.txt").read_text().split()
    spoilt = root / "VOC2007" / "JPEGImages" / f"{names[4]}.jpg"
    os.truncate(spoilt, spoilt.stat().st_size // 2)
    command = ["voc", str(root), "--split", "2007:val", str(tmp_path / "out"), "--workers", "1"]
    with pytest.raises(ValueError, match=f"{spoilt}: does not decode"):
        main(command)
    main([*command, "--drop-corrupt"])
    printed = capsys.readouterr().out
    assert ": 20 images" in printed and "  corrupt images left out: 1" in printed


def test_a_real_set_of_blood_cells(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["tar", "-xf", str(shared / "data" / "bccd.tar"), "-C", str(tmp_path)], check=True)
    root = next(tmp_path.rglob("ImageSets")).parent
    out = tmp_path / "out"
    command = ["voc", str(root), "--split", "trainval,test", str(out), "--shard-mb", "4", "--workers", "1"]
    with pytest.raises(ValueError, match=r"found 2 others.*--drop-degenerate"):
        main(command)
    main([*command, "--drop-degenerate"])
    printed = capsys.readouterr().out
    assert printed.startswith(f"{out}: 364 images, 4,886 objects (0 difficult, 0 crowd)")
    assert "degenerate boxes left out: 2" in printed
    index = verify(out, workers=1)
    assert index.classes == ("Platelets", "RBC", "WBC")
    counts = np.bincount(index.arrays["labels"])
    assert counts.sum() == 4886 and (counts <= [361, 4155, 372]).all()
    assert {index.size_px(sample) for sample in range(364)} == {(640, 480)}


# ------------------------------------------------------------------------------------------- the same for every format


def run(*arguments: object) -> None:
    main([str(argument) for argument in (*arguments, "--workers", "1")])


@pytest.fixture
def doubtful(tmp_path: Path) -> Path:
    """A COCO set of two images with words as ids and a box cut at the border."""
    root = tmp_path / "set"
    root.mkdir()
    for name in "ab":
        (root / f"{name}.JPG").write_bytes(jpeg(width=96, height=64))
    images = [{"id": f"frame {name}", "file_name": f"{name}.JPG", "width": 96, "height": 64} for name in "ab"]
    boxes = [[40, 20, 80, 70], [1, 2, 30, 40]]
    annotations = [
        {"image_id": f"frame {name}", "category_id": 1, "bbox": box} for name, box in zip("ab", boxes, strict=True)
    ]
    categories = [{"id": 1, "name": "a,b"}, {"id": 2, "name": "no"}]
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    (root / "all.json").write_text(text)
    return root


def test_the_summary_names_what_is_doubtful_and_strict_refuses_it(
    doubtful: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"expected nothing doubtful, found\n  boxes of 2 that lose more than a tenth"):
        run("coco", doubtful, "--split", "all.json", out, "--strict")
    assert not out.exists()
    run("coco", doubtful, "--split", "all.json", out)
    printed = capsys.readouterr().out
    assert "check these (--strict makes them errors):\n  boxes of 2 that lose more than a tenth" in printed
    header = json.loads((out / "index.json").read_text())
    assert header["source_ids"] == {"images": {"1": "frame a", "2": "frame b"}}
    assert header["classes"] == ["a,b", "no"]


def test_strict_refuses_what_only_the_pixels_show(doubtful: Path, tmp_path: Path) -> None:
    text = (doubtful / "all.json").read_text().replace("[40, 20, 80, 70]", "[40, 20, 50, 30]")
    (doubtful / "all.json").write_text(text)
    data = (doubtful / "a.JPG").read_bytes()
    (doubtful / "a.JPG").write_bytes(data[:20] + b"\0\0" + data[20:])
    out = tmp_path / "out"
    with pytest.raises(
        ValueError, match=r"found\n  JPEGs with extraneous bytes \(every pixel is there\): 1 \(a\.JPG\)"
    ):
        run("coco", doubtful, "--split", "all.json", out, "--strict")
    assert not list(out.iterdir())
    (doubtful / "a.JPG").write_bytes(data)
    run("coco", doubtful, "--split", "all.json", out, "--strict")
    assert ShardIndex.load(out).num_samples == 2


def test_options_of_every_format(doubtful: Path, tmp_path: Path) -> None:
    run("coco", doubtful, "--split", "all.json", tmp_path / "some", "--classes", '"a,b"', "--count", 1)
    assert ShardIndex.load(tmp_path / "some").classes == ("a,b",)
    run("coco", doubtful, "--split", "all.json", tmp_path / "small", "--max-side", 48)
    index = ShardIndex.load(tmp_path / "small")
    assert index.size_px(0) == (48, 32)
    assert (index.arrays["source_widths"][0], index.arrays["source_heights"][0]) == (96, 64)
    assert index.arrays["boxes_xyxy_px"][index.objects(1)].max() <= 48
    for name in ("--hold-out", "--held-out"):
        with contextlib.suppress(ValueError):  # of two images one part may be empty
            run("coco", doubtful, "--split", "all.json", tmp_path / name[2:], name, 0.5)
    parts = [ShardIndex.load(tmp_path / name) for name in ("hold-out", "held-out") if (tmp_path / name).exists()]
    assert sum(part.num_samples for part in parts) == 2


def test_one_command_writes_a_set_to_train_on_and_one_for_validation(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["voc", drawn / "VOC2007", "--split", "all"]
    run(*command, "--val", 0.2, tmp_path / "both")
    printed = capsys.readouterr().out
    for name, option in (("train", "--hold-out"), ("val", "--held-out")):
        run(*command, option, 0.2, tmp_path / option)
        assert capsys.readouterr().out.replace(option, f"both/{name}") in printed
        assert (tmp_path / "both" / name / "index.json").read_bytes() == (tmp_path / option / "index.json").read_bytes()


def test_validation_of_another_split_has_the_classes_of_training(drawn: Path, tmp_path: Path) -> None:
    root = shutil.copytree(drawn / "VOC2007", tmp_path / "root")
    for name in (root / "ImageSets" / "Main" / "val.txt").read_text().split():
        xml = root / "Annotations" / f"{name}.xml"
        xml.write_text(re.sub("<name>[^<]*</name>", "<name>star</name>", xml.read_text()))
    run("voc", root, "--split", "train", "--val", "val", tmp_path / "out")
    train, val = (ShardIndex.load(tmp_path / "out" / name) for name in ("train", "val"))
    assert (train.num_samples, val.num_samples) == (53, 21) and train.classes == val.classes and len(val.classes) == 6


def test_of_two_sets_both_are_written_or_neither(drawn: Path, tmp_path: Path) -> None:
    root = shutil.copytree(drawn / "VOC2007", tmp_path / "root")
    last = (root / "ImageSets" / "Main" / "val.txt").read_text().split()[-1]
    image = root / "JPEGImages" / f"{last}.jpg"
    os.truncate(image, image.stat().st_size // 2)
    command = ["voc", root, "--split", "train", "--val", "val", tmp_path / "out"]
    with pytest.raises(ValueError, match=f"{image}: does not decode"):
        run(*command)
    assert not [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    run(*command, "--drop-corrupt")
    assert (tmp_path / "out" / "val" / "index.json").exists()
    for option in ("--hold-out", "--held-out"):
        with pytest.raises(ValueError, match="expected --val without --part, --hold-out and --held-out"):
            run(*command, option, 0.2)


@pytest.mark.parametrize("val", ["20%", "1.5", "0", "1"])
def test_val_is_a_fraction_or_a_split(tmp_path: Path, val: str) -> None:
    with pytest.raises(ValueError, match=f"--val: expected a fraction such as 0.2, or a split, found '{val}'"):
        run("voc", tmp_path, "--split", "all", "--val", val, tmp_path / "out")


def test_the_same_boxes_from_yolo_as_from_coco(doubtful: Path, tmp_path: Path) -> None:
    text = (doubtful / "all.json").read_text().replace("[40, 20, 80, 70]", "[40, 20, 50, 30]")
    (doubtful / "all.json").write_text(text)
    (doubtful / "data.yaml").write_text("names: ['a,b', no]\ntrain: .\n")
    (doubtful / "a.txt").write_text(f"0 {65 / 96} {35 / 64} {50 / 96} {30 / 64}\n")
    (doubtful / "b.txt").write_text(f"0 {16 / 96} {22 / 64} {30 / 96} {40 / 64}\n")
    run("yolo", doubtful, "--split", "train", tmp_path / "yolo")
    run("coco", doubtful, "--split", "all.json", tmp_path / "coco")
    yolo, coco = (ShardIndex.load(tmp_path / name) for name in ("yolo", "coco"))
    assert yolo.classes == coco.classes and [yolo.key(0), yolo.key(1)] == [coco.key(0), coco.key(1)]
    np.testing.assert_allclose(yolo.arrays["boxes_xyxy_px"], coco.arrays["boxes_xyxy_px"], atol=0.01)
