"""Shards: the same bytes every time, whatever happened on the way, readable by webdataset and by tar."""

import contextlib
import dataclasses
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import webdataset

from data.images.decode import decode
from data.records import Annotations
from data.shards import write
from data.shards.__main__ import main
from data.shards.index import ShardIndex, ShardReader
from data.shards.verify import verify
from data.shards.write import MAX_CLASSES, index_shards, write_shards
from data.sources.voc import read_voc
from tests.conftest import ROOT
from tests.data.pictures import annotations, contents, flip_byte, jpeg, note, write_tar

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
    with pytest.raises(ValueError, match=r"image1\.jpg and .*image0\.jpg would both be sample 'image0'"):
        write_shards(given, tmp_path / "out", workers=1)


@pytest.mark.parametrize("size", [0, -1, float("nan"), float("inf")])
def test_sizes_of_shards_that_cannot_be(tmp_path: Path, size: float) -> None:
    with pytest.raises(ValueError, match=f"--shard-mb: expected a size above 0, found {size}"):
        write_shards(annotations(tmp_path / "images", 1), tmp_path / "out", shard_mb=size, workers=1)


@pytest.mark.parametrize("names", [("cat", "cat"), ("cat", ""), ("cat", " "), ("cat", "a\nb"), ("cat", "\ud800")])
def test_classes_that_cannot_be_told_apart(tmp_path: Path, names: tuple[str, ...]) -> None:
    given = dataclasses.replace(annotations(tmp_path / "images", 1), classes=names)
    message = re.escape(f"expected a name of its own for each class, found {names[1]!r}; correct --classes")
    with pytest.raises(ValueError, match=message):
        write_shards(given, tmp_path / "out", workers=1)
    write_tar(tmp_path / "a.tar", [("a.jpg", b""), ("a.json", note())])
    with pytest.raises(ValueError, match=message):
        index_shards(tmp_path, names, workers=1)


# ------------------------------------------------------------------------------------------------ tars made elsewhere


def test_the_index_of_tars_made_elsewhere(tmp_path: Path) -> None:
    first = [("b.txt", b"a dog"), ("b.json", note(labels=["dog"], image_id="7", areas_px=[5])), ("b.jpeg", jpeg(1))]
    second = [("x/a.PNG", b"image"), ("x/a.json", note(boxes_xyxy_px=[], labels=[])), ("README", b"")]
    write_tar(tmp_path / "one.tar", [*first, ("c.jpg", jpeg(2)), ("c.json", note(difficult=[True]))])
    write_tar(tmp_path / "two.tar", second, tarfile.PAX_FORMAT)
    write_tar(tmp_path / "without.tar", [("README", b"")])
    index = index_shards(tmp_path, workers=1)
    assert [shard.name for shard in index.shards] == ["one.tar", "two.tar"] and index.shard_sizes.tolist() == [2, 1]
    assert [index.key(sample) for sample in range(3)] == ["b", "c", "x/a"]
    assert [index.image_id(sample) for sample in range(3)] == ["7", "c", "x/a"]
    assert index.classes == ("cat", "dog") and index.category_ids == (1, 2)
    assert index.arrays["labels"].tolist() == [1, 0] and index.arrays["areas_px"].tolist() == [5, 9 * 18]
    assert index.arrays["difficult"].tolist() == [False, True] and not index.arrays["crowd"].any()
    assert index.source == f"tars at {tmp_path.name}" and index.size_px(2) == (40, 30)
    with ShardReader(index) as reader:
        assert [reader.image(sample) for sample in range(3)] == [jpeg(1), jpeg(2), b"image"]


def test_the_classes_of_tars_made_elsewhere_can_be_given(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("a.jpg", b""), ("a.json", note())])
    with pytest.raises(
        ValueError, match=r"a\.tar: expected objects of the classes dog, ant; found cat; correct --classes"
    ):
        index_shards(tmp_path, ["dog", "ant"], workers=1)
    assert not (tmp_path / "index.json").exists()
    index = index_shards(tmp_path, ["dog", "cat"], workers=1)
    assert index.classes == ("dog", "cat") and index.arrays["labels"].tolist() == [1]


def test_the_index_does_not_depend_on_the_number_of_processes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        for number in range(3):
            write_tar(tmp_path / name / "set" / f"{number}.tar", [(f"{number}.jpg", b""), (f"{number}.json", note())])
    index_shards(tmp_path / "one" / "set", workers=1)
    index_shards(tmp_path / "two" / "set", workers=2)
    assert contents(tmp_path / "one" / "set") == contents(tmp_path / "two" / "set")


def test_a_key_in_two_tars_is_refused(tmp_path: Path) -> None:
    for name in ("one.tar", "two.tar"):
        write_tar(tmp_path / name, [("a.jpg", b""), ("a.json", note())])
    with pytest.raises(
        ValueError, match=f"{tmp_path}: expected each key once, found 'a' again; rename one of its samples"
    ):
        index_shards(tmp_path, workers=1)


def test_a_note_that_is_wrong_is_named(tmp_path: Path) -> None:
    write_tar(tmp_path / "a.tar", [("x/a.jpg", b""), ("x/a.json", b'{"boxes": []}')])
    with pytest.raises(
        ValueError, match=r"a\.tar: x/a\.json: expected width, height, boxes_xyxy_px and labels, found no"
    ):
        index_shards(tmp_path, workers=1)


@pytest.mark.parametrize("files", [[], [("README", b"")]])
def test_tars_without_samples_are_refused(tmp_path: Path, files: list[tuple[str, bytes]]) -> None:
    write_tar(tmp_path / "a.tar", files)
    with pytest.raises(ValueError, match=f"{tmp_path}: expected samples in the tars, found none"):
        index_shards(tmp_path, workers=1)


def test_captions_are_no_class_names(tmp_path: Path) -> None:
    names = [f"caption {number}" for number in range(MAX_CLASSES + 1)]
    text = note(labels=names, boxes_xyxy_px=[[0, 0, 1, 1]] * len(names))
    write_tar(tmp_path / "a.tar", [("a.jpg", b""), ("a.json", text)])
    with pytest.raises(ValueError, match=r"expected up to 32,767 classes, found 32,768; are labels class names\?"):
        index_shards(tmp_path, workers=1)


def test_an_index_is_not_made_over_another_one(shards: Path) -> None:
    """It would lose what tars do not hold: the order of the classes, the source's ids, what was left out."""
    before = contents(shards / "val")
    with pytest.raises(ValueError, match=r"already has an index; remove its index\.json to have it made again"):
        index_shards(shards / "val", workers=1)
    assert contents(shards / "val") == before


# -------------------------------------------------------------------------------------------------- interrupted runs


def interrupt(given: Annotations, out: Path, at: str, *, drop_corrupt: bool = False) -> None:
    """Ctrl-C when the run is about to write the shard, or the index, with this name."""
    write_shard, write_file = write._write_shard, write._write_file

    def shard(path: Path, *rest: object) -> object:
        if path.name == at:
            path.with_suffix(".part").write_bytes(b"half")
            raise KeyboardInterrupt
        return write_shard(path, *rest)

    def file(path: Path, data: bytes) -> None:
        if path.name == at:
            path.with_name(at + ".part").write_bytes(data[:100])
            raise KeyboardInterrupt
        write_file(path, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "_write_shard", shard)
        patch.setattr(write, "_write_file", file)
        with pytest.raises(KeyboardInterrupt):
            write_shards(given, out, shard_mb=SMALL_MB, workers=1, drop_corrupt=drop_corrupt)


def whole_files(folder: Path) -> dict[str, tuple[int, int]]:
    """Which files, and when they were written."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*.tar")}


@pytest.mark.parametrize("at", ["unfinished.json", "shard-000000.tar", "shard-000003.tar", "index.npz", "index.json"])
def test_a_rerun_goes_on_from_what_is_finished(tmp_path: Path, at: str) -> None:
    given, out = annotations(tmp_path / "images", 9), tmp_path / "out"
    write_shards(given, tmp_path / "undisturbed", shard_mb=SMALL_MB, workers=1)
    interrupt(given, out, at)
    with pytest.raises(ValueError, match=f"no shards at {out}"):
        ShardIndex.load(out)
    finished = whole_files(out)
    assert len(finished) == {"unfinished.json": 0, "shard-000000.tar": 0, "shard-000003.tar": 3}.get(at, len(finished))
    write_shards(given, out, shard_mb=SMALL_MB, workers=1)
    assert contents(out) == contents(tmp_path / "undisturbed")
    assert whole_files(out).items() >= finished.items()


def test_a_rerun_counts_the_images_left_out_before(tmp_path: Path) -> None:
    given, out = annotations(tmp_path / "images", 9), tmp_path / "out"
    for number in (1, 4, 7):
        given.records[number].image.write_bytes(b"\xff\xd8 nothing")
    interrupt(given, out, "index.npz", drop_corrupt=True)
    index = write_shards(given, out, shard_mb=SMALL_MB, workers=1, drop_corrupt=True)
    assert index.num_samples == 6 and index.dropped == {"corrupt images": 3}
    verify(out, workers=1)


def test_a_run_that_ended_between_its_last_two_steps_is_finished(tmp_path: Path) -> None:
    given, out = annotations(tmp_path / "images", 9), tmp_path / "out"
    interrupt(given, out, "index.json")
    plan = (out / "unfinished.json").read_bytes()
    write_shards(given, out, shard_mb=SMALL_MB, workers=1)
    whole = contents(out)
    (out / "unfinished.json").write_bytes(plan)
    with pytest.raises(ValueError, match="already holds a finished set of shards"):
        write_shards(given, out, shard_mb=1, workers=1)
    write_shards(given, out, shard_mb=SMALL_MB, workers=1)
    assert contents(out) == whole


@pytest.mark.parametrize("change", ["image", "boxes", "classes", "size of a shard", "fewer"])
def test_a_run_of_something_else_starts_over(tmp_path: Path, change: str) -> None:
    given, out, size = annotations(tmp_path / "images", 9), tmp_path / "out", SMALL_MB
    interrupt(given, out, "index.json")
    finished = whole_files(out)
    if change == "image":
        given.records[2].image.write_bytes(jpeg(99))
    elif change == "boxes":
        given.records[2].boxes_xyxy_px[0, 0] += 0.5
    elif change == "classes":
        given = dataclasses.replace(given, classes=("cat", "bird"))
    elif change == "fewer":
        given.records.pop()
    else:
        size *= 2
    write_shards(given, out, shard_mb=size, workers=1)
    assert not whole_files(out).items() & finished.items()
    write_shards(given, tmp_path / "undisturbed", shard_mb=size, workers=1)
    assert contents(out) == contents(tmp_path / "undisturbed")


def test_a_finished_shard_that_was_damaged_since_is_refused(tmp_path: Path) -> None:
    given, out = annotations(tmp_path / "images", 9), tmp_path / "out"
    interrupt(given, out, "shard-000003.tar")
    flip_byte(out / "shard-000001.tar", 10)
    with pytest.raises(ValueError, match=r"shard-000001\.tar is cut short or damaged: .*make it again"):
        write_shards(given, out, shard_mb=SMALL_MB, workers=1)
    (out / "shard-000001.tar").unlink()
    write_shards(given, out, shard_mb=SMALL_MB, workers=1)
    verify(out, workers=1)


def test_tars_of_others_are_left_alone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_tar(out / "shard-000000.tar", [("a.jpg", b""), ("a.json", note())])
    (out / "film.part").write_bytes(b"half a film")
    before = contents(out)
    message = rf"{out}: expected an empty folder, found shard-000000\.tar, which no run of this command left unfinished"
    with pytest.raises(ValueError, match=message):
        write_shards(annotations(tmp_path / "images", 3), out, workers=1)
    assert contents(out) == before
    (out / "shard-000000.tar").unlink()
    write_shards(annotations(tmp_path / "images", 3), out, workers=1)
    assert (out / "film.part").read_bytes() == b"half a film"


def test_an_interrupted_run_is_not_taken_for_a_set(tmp_path: Path) -> None:
    interrupt(annotations(tmp_path / "images", 9), tmp_path / "out", "shard-000003.tar")
    with pytest.raises(ValueError, match=r"holds an interrupted run of .*; repeat its command to finish it"):
        index_shards(tmp_path / "out", workers=1)


# ---------------------------------------------------------------------------------------------------------- kill -9

SHARDER = """
import os, sys
from data.shards.__main__ import main
for line in sys.stdin:
    process = os.fork()
    if process == 0:
        with open(os.devnull, "w") as sys.stdout:
            main(line.split())
        os._exit(0)
    print(process, flush=True)
    print(os.waitpid(process, 0)[1], flush=True)
"""


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A VOC set that takes some tenths of a second to write."""
    root = tmp_path / "root"
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    image, box = jpeg(width=500, height=375), "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
    size = "<size><width>500</width><height>375</height></size>"
    for number in range(60):
        (root / "JPEGImages" / f"{number}.jpg").write_bytes(image)
        xml = f"<annotation>{size}<object><name>cat</name><bndbox>{box}</bndbox></object></annotation>"
        (root / "Annotations" / f"{number}.xml").write_text(xml)
    (root / "ImageSets" / "Main" / "all.txt").write_text("\n".join(map(str, range(60))))
    return root


@pytest.mark.slow
def test_killed_at_any_moment_a_rerun_completes_with_the_same_bytes(many: Path, tmp_path: Path) -> None:
    moments = random.Random(0)
    with subprocess.Popen(
        [sys.executable, "-c", SHARDER], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as sharder:
        assert sharder.stdin and sharder.stdout

        def run(out: Path, kill_at: int | None = None) -> int:
            """Exit status of `data.shards voc` in a process of its own, killed soon after so many shards are there."""
            print(f"voc {many} --split all {out} --shard-mb 0.5 --workers 1", file=sharder.stdin, flush=True)
            process = int(sharder.stdout.readline())
            if kill_at is not None:
                while len(list(out.glob("*.tar"))) < kill_at and Path(f"/proc/{process}").exists():
                    time.sleep(0.001)
                time.sleep(moments.uniform(0, 0.02))  # about the time that a shard takes
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            return int(sharder.stdout.readline())

        assert run(tmp_path / "undisturbed") == 0
        whole, in_the_middle = contents(tmp_path / "undisturbed"), 0
        assert len(whole) > 20
        for number in range(20):
            out = tmp_path / str(number)
            run(out, kill_at=moments.randrange(len(whole)))
            in_the_middle += (out / "unfinished.json").exists()
            if not (out / "index.json").exists() or (out / "unfinished.json").exists():  # else it had just finished
                assert run(out) == 0
            assert contents(out) == whole
        assert in_the_middle >= 10
        sharder.stdin.close()


@pytest.mark.slow
def test_killed_with_all_its_processes_a_rerun_completes_with_the_same_bytes(many: Path, tmp_path: Path) -> None:
    command = ["voc", str(many), "--split", "all", "--shard-mb", "0.5", "--workers"]
    main([*command, "1", str(tmp_path / "undisturbed")])
    whole = contents(tmp_path / "undisturbed")
    out = tmp_path / "out"
    run = [sys.executable, "-m", "data.shards", *command, "2", str(out)]
    sharder = subprocess.Popen(run, cwd=ROOT, start_new_session=True)
    while len(list(out.glob("*.tar"))) < 5 and sharder.poll() is None:
        time.sleep(0.01)
    os.killpg(sharder.pid, signal.SIGKILL)
    sharder.wait()
    assert (out / "unfinished.json").exists()
    main([*command, "1", str(out)])
    assert contents(out) == whole
