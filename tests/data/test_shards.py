"""Shards: the same bytes every time, readable by webdataset, every fault found and explained."""

import dataclasses
import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
import webdataset

from data.decode import decode
from data.index import ShardIndex, ShardReader, parse_header, seal
from data.sample import Annotations, Record
from data.shards import main
from data.tar import entries
from data.verify import verify
from data.voc import read_voc
from data.write import write_shards


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def annotations(folder: Path, count: int, *, width: int = 40, height: int = 30) -> Annotations:
    """Images of noise; image i has i % 3 objects."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    records = []
    for number in range(count):
        path = folder / f"image{number}.jpg"
        path.write_bytes(cv2.imencode(".jpg", rng.integers(0, 256, (height, width, 3), np.uint8))[1].tobytes())
        objects = number % 3
        boxes = np.array([[1.5, 2, 10 + number, 20.25], [0, 0, width, height]])[:objects]
        labels = np.arange(objects, dtype=np.int16)
        areas, crowd = boxes[:, 2] * 1.5, np.zeros(objects, np.bool_)
        records.append(Record(path.stem, f"{number}", path, width, height, boxes, areas, labels, labels == 1, crowd))
    return Annotations("noise", ("cat", "dog"), (3, 7), records, {})


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    """Shards that a test can spoil."""
    return shutil.copytree(shards / "train", tmp_path / "copy")


def flip_byte(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x40
    path.write_bytes(data)


def change_header(folder: Path, **fields: object) -> None:
    path = folder / "index.json"
    path.write_bytes(seal(parse_header(path.read_bytes(), path) | fields))


# ---------------------------------------------------------------------------------------------------------- writing


def test_bytes_do_not_depend_on_the_number_of_processes(drawn: Path, shards: Path, tmp_path: Path) -> None:
    records = read_voc(drawn, ["2007:train"])
    write_shards(records, tmp_path / "one", shard_mb=0.15, workers=1)
    write_shards(records, tmp_path / "two", shard_mb=0.15, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(shards / "train")
    assert len(contents(tmp_path / "one")) >= 5  # several shards and the two files of the index


def test_bytes_do_not_depend_on_the_order_of_the_records(tmp_path: Path) -> None:
    given = annotations(tmp_path / "images", 7)
    turned = Annotations(given.source, given.classes, given.category_ids, given.records[::-1], {})
    write_shards(given, tmp_path / "a", shard_mb=0.004, workers=1)
    write_shards(turned, tmp_path / "b", shard_mb=0.004, workers=1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_tar_lists_every_file_once(shards: Path, index: ShardIndex) -> None:
    listed: list[str] = []
    for name in [shard.name for shard in index.shards]:
        done = subprocess.run(["tar", "-tf", str(shards / "train" / name)], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        listed += done.stdout.split()
    assert listed == [f"{index.key(i)}.{end}" for i in range(index.num_samples) for end in ("jpg", "json")]
    assert len(set(listed)) == 2 * 53


def test_the_webdataset_library_reads_every_sample(drawn: Path, shards: Path) -> None:
    paths = [str(path) for path in sorted((shards / "train").glob("shard-*.tar"))]
    records = {record.key: record for record in read_voc(drawn, ["2007:train"]).records}
    classes = read_voc(drawn, ["2007:train"]).classes
    samples = list(webdataset.WebDataset(paths, shardshuffle=False))
    assert sorted(sample["__key__"] for sample in samples) == sorted(records)
    for sample in samples:
        record = records[sample["__key__"]]
        assert {name for name in sample if not name.startswith("__")} == {"jpg", "json"}
        assert sample["jpg"] == record.image.read_bytes()
        note = json.loads(sample["json"])
        assert (note["width"], note["height"]) == (record.width, record.height)
        np.testing.assert_array_equal(np.array(note["boxes_xyxy_px"]).reshape(-1, 4), record.boxes_xyxy_px)
        assert note["labels"] == [classes[label] for label in record.labels]
        assert note["image_id"] == record.image_id and note["areas_px"] == record.areas_px.tolist()
        assert note["difficult"] == record.difficult.tolist() and note["crowd"] == record.crowd.tolist()


def test_the_index_gives_back_what_went_in(tmp_path: Path) -> None:
    given = annotations(tmp_path / "images", 7)
    index = write_shards(given, tmp_path / "out", shard_mb=0.004, workers=1)
    assert index.num_samples == 7 and int(index.shard_sizes.sum()) == 7 and len(index.shards) > 1
    assert index.classes == ("cat", "dog") and index.category_ids == (3, 7) and index.source == "noise"
    assert index.digest == hashlib.sha256((tmp_path / "out" / "index.json").read_bytes()).hexdigest()
    by_key = {record.key: record for record in given.records}
    with ShardReader(index) as reader:
        for sample in range(7):
            record, objects = by_key.pop(index.key(sample)), index.objects(sample)
            assert reader.image(sample) == record.image.read_bytes()
            assert index.size_px(sample) == (40, 30)
            np.testing.assert_array_equal(index.arrays["boxes_xyxy_px"][objects], record.boxes_xyxy_px)
            np.testing.assert_array_equal(index.arrays["areas_px"][objects], record.areas_px)
            assert index.image_id(sample) == record.image_id
            np.testing.assert_array_equal(index.arrays["labels"][objects], record.labels)
            np.testing.assert_array_equal(index.arrays["difficult"][objects], record.difficult)
            np.testing.assert_array_equal(index.arrays["crowd"][objects], record.crowd)
    assert not by_key


def test_png_images_keep_their_bytes_and_jpeg_is_called_jpg(tmp_path: Path) -> None:
    given = annotations(tmp_path / "images", 2)
    png, jpeg = tmp_path / "images" / "image0.PNG", tmp_path / "images" / "image1.JPEG"
    png.write_bytes(cv2.imencode(".png", np.zeros((30, 40, 3), np.uint8))[1].tobytes())
    given.records[1].image.rename(jpeg)
    first, second = given.records
    records = [
        dataclasses.replace(first, image=png),
        dataclasses.replace(second, image=jpeg),
    ]
    index = write_shards(Annotations("noise", ("cat",), (1,), records, {}), tmp_path / "out", workers=1)
    listed = subprocess.run(
        ["tar", "-tf", str(tmp_path / "out" / index.shards[0].name)], capture_output=True, text=True, check=True
    )
    assert sorted(listed.stdout.split()) == ["image0.json", "image0.png", "image1.jpg", "image1.json"]
    with ShardReader(index) as reader:
        assert all(decode(reader.image(sample)).shape == (30, 40, 3) for sample in range(2))


def test_a_finished_set_is_not_written_over(shards: Path, tmp_path: Path) -> None:
    before = contents(shards / "val")
    with pytest.raises(ValueError, match="already holds a finished set of shards; remove it or choose another"):
        write_shards(annotations(tmp_path / "images", 1), shards / "val", workers=1)
    assert contents(shards / "val") == before


def test_a_set_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="noise: no images to write"):
        write_shards(annotations(tmp_path / "images", 0), tmp_path / "out", workers=1)


def test_an_image_that_does_not_decode_is_refused_with_its_path(tmp_path: Path) -> None:
    given = annotations(tmp_path / "images", 5)
    spoilt = given.records[3].image
    spoilt.write_bytes(spoilt.read_bytes()[:-40])
    with pytest.raises(ValueError, match="1 of 5 images cannot be used") as error:
        write_shards(given, tmp_path / "out", workers=1)
    assert f"{spoilt}: does not decode: not a usable JPEG: Premature end of JPEG file" in str(error.value)
    assert "leave them out with --drop-corrupt" in str(error.value)
    assert not list((tmp_path / "out").iterdir())  # nothing half done is left


def test_of_many_unusable_images_ten_are_named(tmp_path: Path) -> None:
    given = annotations(tmp_path / "images", 12)
    for record in given.records:
        record.image.write_bytes(b"")
    with pytest.raises(ValueError, match="12 of 12 images cannot be used") as error:
        write_shards(given, tmp_path / "out", workers=1)
    assert str(error.value).count("the file is empty") == 10 and "..." in str(error.value)


def test_images_that_do_not_decode_can_be_left_out_and_are_counted(tmp_path: Path) -> None:
    given = annotations(tmp_path / "images", 5)
    for number in (0, 3):
        given.records[number].image.write_bytes(b"\xff\xd8 nothing")
    index = write_shards(given, tmp_path / "out", workers=1, drop_corrupt=True)
    assert sorted(index.key(sample) for sample in range(index.num_samples)) == ["image1", "image2", "image4"]
    assert json.loads((tmp_path / "out" / "index.json").read_text())["dropped"] == {"corrupt images": 2}
    assert len(index.arrays["labels"]) == 1 + 2 + 1
    verify(tmp_path / "out", workers=1)


def test_a_shard_whose_images_are_all_left_out_does_not_exist(tmp_path: Path) -> None:
    given = annotations(tmp_path / "images", 5)
    given.records[2].image.write_bytes(b"\xff\xd8 nothing")
    index = write_shards(given, tmp_path / "out", shard_mb=1e-6, workers=1, drop_corrupt=True)  # an image a shard
    assert index.shard_sizes.tolist() == [1] * 4
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tar")) == [shard.name for shard in index.shards]
    verify(tmp_path / "out", workers=1)


def test_a_set_of_which_every_image_would_be_left_out_is_refused(tmp_path: Path) -> None:
    given = annotations(tmp_path / "images", 2)
    for record in given.records:
        record.image.write_bytes(b"\xff\xd8 nothing")
    with pytest.raises(ValueError, match="2 of 2 images cannot be used"):
        write_shards(given, tmp_path / "out", workers=1, drop_corrupt=True)
    assert not list((tmp_path / "out").iterdir())


def test_an_image_of_another_size_than_its_annotation_is_refused(tmp_path: Path) -> None:
    given = annotations(tmp_path / "images", 3)
    spoilt = given.records[1].image
    spoilt.write_bytes(cv2.imencode(".jpg", np.zeros((40, 30, 3), np.uint8))[1].tobytes())
    with pytest.raises(ValueError, match=r"image1\.jpg: is 30x40 px, its annotation says 40x30"):
        write_shards(given, tmp_path / "out", workers=1)


# ----------------------------------------------------------------------------------------------------------- faults


def test_whole_shards_pass(copy: Path, index: ShardIndex) -> None:
    found = verify(copy, workers=1)
    assert found.digest == index.digest and found.num_samples == 53


def test_a_changed_byte_is_found(copy: Path, index: ShardIndex) -> None:
    name = index.shards[1].name
    flip_byte(copy / name, int(index.arrays["image_offsets"][int(index.shard_sizes[0])]) + 500)
    ShardIndex.load(copy)  # of the same length: only the digest tells
    with pytest.raises(ValueError, match=rf"1 faults\n  {name}: its bytes are not those that were written \(sha256"):
        verify(copy, workers=1)


def test_all_faults_are_listed(copy: Path, index: ShardIndex) -> None:
    for name in [shard.name for shard in index.shards[:2]]:
        flip_byte(copy / name, 100)
    with pytest.raises(ValueError, match=f"2 faults\n  {index.shards[0].name}.*\n  {index.shards[1].name}"):
        verify(copy, workers=1)


def test_a_shard_that_is_cut_short_is_found(copy: Path, index: ShardIndex) -> None:
    path = copy / index.shards[1].name
    size = path.stat().st_size
    os.truncate(path, size // 2)
    message = rf"{path.name}: the index says {size} bytes, found {size // 2}; copy the shard again or make"
    with pytest.raises(ValueError, match=message):
        ShardIndex.load(copy)


def test_a_missing_shard_is_found(copy: Path, index: ShardIndex) -> None:
    (copy / index.shards[0].name).unlink()
    with pytest.raises(ValueError, match=rf"{index.shards[0].name}: the index says \d+ bytes, the file is missing"):
        ShardIndex.load(copy)


def test_shards_of_another_version_are_refused(copy: Path) -> None:
    change_header(copy, version=1)
    with pytest.raises(ValueError, match=r"is of yolov2-shards version 1, this program reads yolov2-shards version 2"):
        ShardIndex.load(copy)


def test_changed_arrays_are_found(copy: Path) -> None:
    flip_byte(copy / "index.npz", 2000)
    with pytest.raises(ValueError, match=r"index\.npz is missing or does not match index\.json beside it"):
        ShardIndex.load(copy)
    (copy / "index.npz").unlink()
    with pytest.raises(ValueError, match=r"index\.npz is missing or does not match"):
        ShardIndex.load(copy)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "3", '{"format": "yolov2-shards"}'])
def test_an_index_that_is_none_is_refused(copy: Path, text: str) -> None:
    (copy / "index.json").write_text(text)
    with pytest.raises(ValueError, match=r"index\.json is not an index of shards; make the shards again"):
        ShardIndex.load(copy)


def test_a_folder_without_shards_is_refused_with_the_way_to_make_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"no shards at {tmp_path}.*`python -m data\.shards voc ROOT --split"):
        ShardIndex.load(tmp_path)


def test_arrays_that_describe_other_shards_are_found(copy: Path) -> None:
    """A consistent index over a tar it does not belong to."""
    with np.load(copy / "index.npz") as stored:
        arrays = {name: stored[name] for name in stored.files}
    for name in ("image_offsets", "boxes_xyxy_px"):
        changed = arrays | {name: arrays[name] + 1}
        np.savez(copy / "index.npz", **changed)
        change_header(copy, arrays_sha256=hashlib.sha256((copy / "index.npz").read_bytes()).hexdigest())
        with pytest.raises(ValueError, match=rf"column {name} of index\.npz does not describe this tar"):
            verify(copy, workers=1)


def test_a_tar_that_ends_early_is_named_when_it_is_read(copy: Path, index: ShardIndex) -> None:
    path, last = copy / index.shards[0].name, int(index.shard_sizes[0]) - 1
    os.truncate(path, int(index.arrays["image_offsets"][last]) + 512)
    with pytest.raises(ValueError, match=f"{path.name} (is cut short|ends in the middle)"):
        list(entries(path))
    reader = ShardReader(dataclasses.replace(index, folder=copy))
    with reader, pytest.raises(ValueError, match=rf"{path.name} ends after 512 of \d+ bytes of the image"):
        reader.image(last)


# ----------------------------------------------------------------------------------------------------- command line


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


def test_the_command_ends_with_the_reason(drawn: Path, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^error: no shards at "):
        main(["verify", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"^error: .*already holds a finished set"):
        main(["voc", str(drawn), "--split", "2007:val", str(shards / "val")])
    with pytest.raises(SystemExit, match=r"^error: .*expected an image set"):
        main(["voc", str(drawn), "--split", "2007:test", str(tmp_path / "out")])


def test_the_command_leaves_out_corrupt_images_where_asked(
    drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shutil.copytree(drawn, tmp_path / "root")
    names = (root / "VOC2007" / "ImageSets" / "Main" / "val.txt").read_text().split()
    spoilt = root / "VOC2007" / "JPEGImages" / f"{names[4]}.jpg"
    os.truncate(spoilt, spoilt.stat().st_size // 2)
    command = ["voc", str(root), "--split", "2007:val", str(tmp_path / "out"), "--workers", "1"]
    with pytest.raises(SystemExit, match=f"{spoilt}: does not decode"):
        main(command)
    main([*command, "--drop-corrupt"])
    printed = capsys.readouterr().out
    assert ": 20 images" in printed and "  left out: 1 corrupt images" in printed


def test_a_real_set_of_blood_cells(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subprocess.run(["tar", "-xf", str(shared / "data" / "bccd.tar"), "-C", str(tmp_path)], check=True)
    root = next(tmp_path.rglob("ImageSets")).parent
    out = tmp_path / "out"
    command = ["voc", str(root), "--split", "trainval,test", str(out), "--shard-mb", "4", "--workers", "1"]
    with pytest.raises(SystemExit, match=r"found 2 others.*--drop-degenerate"):
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
