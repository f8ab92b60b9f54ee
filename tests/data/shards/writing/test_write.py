"""Shards: the same bytes every time, whatever happened on the way, readable by webdataset and by tar."""

import dataclasses
import hashlib
import json
import re
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.files import locked_folder
from data.images.files.decode import decode
from data.parallel import in_parallel
from data.records import Annotations, Findings
from data.shards.index import ShardIndex
from data.shards.read import ShardReader
from data.shards.verify import verify
from data.shards.writing import one_shard
from data.shards.writing.one_shard import Pixels
from data.shards.writing.scan import index_shards
from data.shards.writing.write import Part, write_part, write_shards
from data.sources.voc import read_voc
from tests.data.pictures import annotations, contents, note, samples_of_webdataset, write_tar

SMALL_MB = 0.004  # a shard of an image or two


def test_bytes_do_not_depend_on_the_number_of_processes(drawn: Path, shards: Path, tmp_path: Path) -> None:
    records = read_voc(drawn, ["2007:train"])
    write_shards(records, tmp_path / "one", shard_mb=0.15, workers=1)
    write_shards(records, tmp_path / "two", shard_mb=0.15, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two") == contents(shards / "train")
    assert len(contents(tmp_path / "one")) >= 5  # several shards and the two files of the index


def test_bytes_do_not_depend_on_the_order_of_the_records(tmp_path: Path) -> None:
    given = annotations(tmp_path / "images", 7)
    turned = Annotations(given.source, given.classes, given.category_ids, given.records[::-1], {})
    write_shards(given, tmp_path / "a", shard_mb=SMALL_MB, workers=1)
    write_shards(turned, tmp_path / "b", shard_mb=SMALL_MB, workers=1)
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
    paths = sorted((shards / "train").glob("shard-*.tar"))
    records = {record.key: record for record in read_voc(drawn, ["2007:train"]).records}
    classes = read_voc(drawn, ["2007:train"]).classes
    samples = samples_of_webdataset(paths)
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
    index = write_shards(given, tmp_path / "out", shard_mb=SMALL_MB, workers=1)
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


@pytest.mark.parametrize("name", ["a b", "é", "a.b", "k" * 96, ""])
def test_names_that_cannot_be_keys_are_refused(tmp_path: Path, name: str) -> None:
    given = annotations(tmp_path / "images", 2)
    given.records[1] = dataclasses.replace(given.records[1], key=name)
    message = rf"image1\.jpg: expected a name of up to 95 ASCII letters without .*, found '{name}'; rename the image"
    with pytest.raises(ValueError, match=message):
        write_shards(given, tmp_path / "out", workers=1)


def test_the_longest_name(tmp_path: Path) -> None:
    given = annotations(tmp_path / "images", 1)
    given.records[0] = dataclasses.replace(given.records[0], key="k" * 95)
    assert write_shards(given, tmp_path / "out", workers=1).key(0) == "k" * 95


def test_a_name_that_comes_twice_is_refused(tmp_path: Path) -> None:
    given = annotations(tmp_path / "images", 2)
    given.records[1] = dataclasses.replace(given.records[1], key="image0")
    with pytest.raises(ValueError, match=r"image1\.jpg and .*image0\.jpg would both become sample 'image0'"):
        write_shards(given, tmp_path / "out", workers=1)


@pytest.mark.parametrize("size", [0, -1, float("nan"), float("inf")])
def test_sizes_of_shards_that_cannot_be(tmp_path: Path, size: float) -> None:
    with pytest.raises(ValueError, match=f"--shard-mb: expected a size above 0, found {size}"):
        write_shards(annotations(tmp_path / "images", 1), tmp_path / "out", shard_mb=size, workers=1)


@pytest.mark.parametrize("names", [("cat", "cat"), ("cat", ""), ("cat", " "), ("cat", "a\nb"), ("cat", "\ud800")])
def test_classes_that_cannot_be_told_apart(tmp_path: Path, names: tuple[str, ...]) -> None:
    given = dataclasses.replace(annotations(tmp_path / "images", 1), classes=names)
    message = re.escape(f"expected a distinct name for each class, found {names[1]!r}; correct --classes")
    with pytest.raises(ValueError, match=message):
        write_shards(given, tmp_path / "out", workers=1)
    write_tar(tmp_path / "a.tar", [("a.jpg", b""), ("a.json", note())])
    with pytest.raises(ValueError, match=message):
        index_shards(tmp_path, names, workers=1)


def test_images_larger_than_the_limit_are_shrunk(tmp_path: Path) -> None:
    given = annotations(tmp_path / "images", 4, width=160, height=120)
    index = write_shards(given, tmp_path / "out", workers=1, pixels=Pixels(max_side=80))
    verify(tmp_path / "out", workers=1)
    by_key = {record.key: record for record in given.records}
    with ShardReader(index) as reader:
        for sample in range(4):
            record, objects = by_key[index.key(sample)], index.objects(sample)
            assert index.size_px(sample) == (80, 60)
            assert (index.arrays["source_widths"][sample], index.arrays["source_heights"][sample]) == (160, 120)
            assert decode(reader.image(sample)).shape == (60, 80, 3)
            np.testing.assert_array_equal(index.arrays["boxes_xyxy_px"][objects] * 2, record.boxes_xyxy_px)
            np.testing.assert_array_equal(index.arrays["areas_px"][objects] * 4, record.areas_px)
    whole = write_shards(given, tmp_path / "whole", workers=1, pixels=Pixels(max_side=160))
    assert "source_widths" not in whole.arrays and whole.size_px(0) == (160, 120)
    with pytest.raises(ValueError, match="--max-side: expected 32 px or more, found 8"):
        write_shards(given, tmp_path / "other", workers=1, pixels=Pixels(max_side=8))


def test_what_is_wrong_with_images_is_counted(tmp_path: Path) -> None:
    given, findings = annotations(tmp_path / "images", 5), Findings()
    for number in (1, 3):
        data = given.records[number].image.read_bytes()
        given.records[number].image.write_bytes(data[:20] + b"\0\0" + data[20:])
    write_shards(given, tmp_path / "out", workers=1, findings=findings)
    ((what, (count, shown)),) = findings.found.items()
    assert what.startswith("JPEGs with extraneous bytes") and count == 2
    assert sorted(shown) == ["image1.jpg", "image3.jpg"]


def test_ids_of_the_source_are_kept(tmp_path: Path) -> None:
    given = annotations(tmp_path / "images", 2)
    given = dataclasses.replace(given, source_ids={"images": {"1": "frame \u00e9"}})
    given.records[0] = dataclasses.replace(given.records[0], image_id="bild \u00e9 / 1")
    index = write_shards(given, tmp_path / "out", workers=1)
    assert json.loads((tmp_path / "out" / "index.json").read_text())["source_ids"] == given.source_ids
    assert {index.image_id(sample) for sample in range(2)} == {"bild \u00e9 / 1", "1"}
    verify(tmp_path / "out", workers=1)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    given, out = annotations(tmp_path / "images", 2), tmp_path / "out"
    out.mkdir()
    with (
        locked_folder(out, "is writing shards"),
        pytest.raises(
            ValueError, match=r"out: another process is writing shards there; wait for it, or choose another"
        ),
    ):
        write_shards(given, out, workers=1)
    assert write_shards(given, out, workers=1).num_samples == 2


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = annotations(tmp_path / "images", 2)
    monkeypatch.setattr(one_shard, "MAX_IMAGE_BYTES", 100)
    with pytest.raises(ValueError, match=r"image\d\.jpg: has more than 100 bytes"):
        write_shards(given, tmp_path / "out", workers=1)


def test_parts_are_together_what_one_run_writes(tmp_path: Path) -> None:
    given = annotations(tmp_path / "images", 11)
    write_shards(given, tmp_path / "one", shard_mb=SMALL_MB, workers=1)
    for of in (1, 3, 16):  # 16: more than there are shards
        out = tmp_path / f"{of}"
        for number in range(of, 0, -1):
            index = write_part(Part(number, of), given, out, shard_mb=SMALL_MB, workers=1)
            assert (index is None) == (number > 1)
        assert contents(out) == contents(tmp_path / "one")


def test_parts_may_be_written_at_the_same_time(tmp_path: Path) -> None:
    given = annotations(tmp_path / "images", 11)
    write_shards(given, tmp_path / "one", shard_mb=SMALL_MB, workers=1)
    jobs = [(Part(number, 4), given, tmp_path / "out", SMALL_MB) for number in range(1, 5)]
    finished = in_parallel(_written_part, jobs, 4, "parts")
    assert any(finished) and contents(tmp_path / "out") == contents(tmp_path / "one")


def _written_part(part: Part, given: Annotations, out: Path, shard_mb: float) -> bool:
    return write_part(part, given, out, shard_mb=shard_mb, workers=1) is not None


def test_a_part_that_is_missing_is_made_up_for_by_the_whole_command(tmp_path: Path) -> None:
    given = annotations(tmp_path / "images", 9)
    for number in (1, 3):
        assert write_part(Part(number, 3), given, tmp_path / "out", shard_mb=SMALL_MB, workers=1) is None
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*.tar")}
    index = write_shards(given, tmp_path / "out", shard_mb=SMALL_MB, workers=1)
    assert len(index.shards) > len(written) > 0
    assert all(path.stat().st_mtime_ns == when for path, when in written.items())
    with pytest.raises(ValueError, match="already holds a finished set of shards"):
        write_part(Part(1, 3), given, tmp_path / "out", shard_mb=SMALL_MB, workers=1)


def test_a_part_of_another_set_leaves_everything_alone(tmp_path: Path) -> None:
    given, out = annotations(tmp_path / "images", 9), tmp_path / "out"
    write_part(Part(1, 3), given, out, shard_mb=SMALL_MB, workers=1)
    before = contents(out)
    with pytest.raises(ValueError, match="out: expected parts of one set, found an unfinished one of other images or"):
        write_part(Part(2, 3), given, out, shard_mb=2 * SMALL_MB, workers=1)
    with locked_folder(out, "writes"), pytest.raises(ValueError, match="another process is writing all shards there"):
        write_part(Part(2, 3), given, out, shard_mb=SMALL_MB, workers=1)
    assert contents(out) == before


def test_a_part_says_which_of_its_images_cannot_be_used(tmp_path: Path) -> None:
    given, out = annotations(tmp_path / "images", 9), tmp_path / "out"
    for record in given.records:
        record.image.write_bytes(b"")
    with pytest.raises(ValueError, match=r"of 9 images cannot be used:\n.*the file is empty"):
        write_part(Part(1, 3), given, out, shard_mb=SMALL_MB, workers=1)


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "-1/4", "1/0", "a/b", "1/2/3", "1.0/2"])
def test_parts_that_cannot_be(text: str) -> None:
    assert Part.parse("3/16") == (3, 16)
    with pytest.raises(ValueError, match=rf"--part: expected one of several parts, such as 3/16, found '{text}'"):
        Part.parse(text)
