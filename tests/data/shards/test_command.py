"""The command: what it prints, and that every refusal ends with its reason."""

import os
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
    assert "in 1 shards, from voc VOC2007:val" in printed
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
    assert printed.startswith(f"{tmp_path}: 1 images, 1 objects (0 difficult, 0 crowd) in 1 shards, from tars at")
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
    assert ": 20 images" in printed and "  left out: 1 corrupt images" in printed


def test_a_real_set_of_blood_cells(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["tar", "-xf", str(shared / "data" / "bccd.tar"), "-C", str(tmp_path)], check=True)
    root = next(tmp_path.rglob("ImageSets")).parent
    out = tmp_path / "out"
    command = ["voc", str(root), "--split", "trainval,test", str(out), "--shard-mb", "4", "--workers", "1"]
    with pytest.raises(ValueError, match=r"found 2 others.*--drop-degenerate"):
        main(command)
    main([*command, "--drop-degenerate"])
    printed = capsys.readouterr().out
    assert printed.startswith(f"{out}: 364 images, 4886 objects (0 difficult, 0 crowd)")
    assert "left out: 2 degenerate boxes" in printed
    index = verify(out, workers=1)
    assert index.classes == ("Platelets", "RBC", "WBC")
    counts = np.bincount(index.arrays["labels"])
    assert counts.sum() == 4886 and (counts <= [361, 4155, 372]).all()
    assert {index.size_px(sample) for sample in range(364)} == {(640, 480)}
