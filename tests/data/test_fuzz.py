"""Whatever bytes come in: an answer in time, no exception but ValueError with the name of the file, no wrong count.

A few seconds among all tests; `FUZZ_EXAMPLES=10000 pytest tests/data/test_fuzz.py --timeout 3600` looks further.
"""

import json
import os
import re
import tarfile
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar
from xml.sax.saxutils import escape

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.files import sha256
from data.images.files.decode import decode
from data.records import Annotations
from data.shards.format.sidecar import parse_sidecar
from data.shards.format.tar import BLOCK, entries
from data.shards.index import ShardIndex
from data.shards.verify import verify
from data.shards.writing.scan import index_shards, scan_shard
from data.sources.coco import read_coco
from data.sources.rules.choose import Choice
from data.sources.voc import read_voc
from data.sources.yolo import read_yolo
from tests.data.pictures import change_header, jpeg, note, write_tar

Answer = TypeVar("Answer")
Edit = tuple[str, int, int, bytes]  # what, where, how many bytes of the old, which new ones

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", 0))
fuzzed = settings(
    max_examples=EXAMPLES or 100,
    derandomize=not EXAMPLES,  # among all tests always the same ones
    database=None,
    deadline=timedelta(seconds=20),
)


def edits(
    size: int, words: Sequence[bytes], kinds: str = "put insert cut repeat end", unit: int = 1
) -> st.SearchStrategy[list[Edit]]:
    """One to three changes of `size` bytes; words are what means something in the format."""
    count = size // unit
    places = st.integers(0, count).map(lambda number: number * 7919 % (count + 1) * unit)  # else mostly small ones
    lengths = st.integers(1, 40 // unit + 2).map(lambda length: length * unit)
    texts = st.one_of(
        st.text("0123456789.-e </", min_size=1, max_size=4).map(str.encode),
        st.sampled_from([*words, b"\0"]),
        st.binary(min_size=1, max_size=4),
    )
    return st.lists(st.tuples(st.sampled_from(kinds.split()), places, lengths, texts), min_size=1, max_size=3)


def changed(data: bytes, changes: Sequence[Edit]) -> bytes:
    for kind, place, length, text in changes:
        head, old, tail = data[:place], data[place : place + length], data[place + length :]
        match kind:
            case "put":
                data = head + text[: len(old + tail)] + data[place + len(text) :]
            case "insert":
                data = head + text + old + tail
            case "cut":
                data = head + tail
            case "repeat":
                data = head + old + old + tail
            case "end":
                data = head
    return data


def answer(names: str | Path, function: Callable[..., Answer], *arguments: Any) -> Answer | None:
    """What the function says; None for a refusal, which must say of what."""
    try:
        return function(*arguments)
    except ValueError as error:
        message = str(error)
    assert str(names) in message and len(message) < 2000
    return None


def fresh(path: Path, data: bytes) -> Path:
    """A file that is truncated and written again is flushed to disk at once, a new one is not."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return path


# -------------------------------------------------------------------------------------------------------- annotations

XML = b"""<?xml version="1.0"?>
<annotation><filename>a.jpg</filename><size><width>100</width><height>80</height><depth>3</depth></size>
<object><name>cat</name><difficult>0</difficult>
<bndbox><xmin>10</xmin><ymin>20</ymin><xmax>30</xmax><ymax>50</ymax></bndbox></object>
<object><name>dog</name><part><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></part>
<bndbox><ymax>80</ymax><xmin>1.5</xmin><ymin>1</ymin><xmax>100</xmax></bndbox><difficult>1</difficult></object>
</annotation>
"""
XML_WORDS = [
    b"<!DOCTYPE a [<!ENTITY b 'c'>]>",
    b"&b;",
    b"&#0;",
    b"<![CDATA[",
    b"-->",
    b"<!--",
    b"\xff\xfe",
    b"-1",
    b"1e999",
]
XML_WORDS += [
    b"nan",
    b"<object>",
    b"</object>",
    b"<size/>",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"9" * 400,
    b"1_0",
    b"<a>" * 2000,
]


DROP = Choice(drop_degenerate=True)
ENCODINGS = ["utf-8"] * 9 + ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"]


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of one image."""
    root = tmp_path_factory.mktemp("voc")
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    (root / "JPEGImages" / "a.jpg").touch()
    (root / "ImageSets" / "Main" / "all.txt").write_text("a")
    return root


def count_objects(found: Annotations) -> int:
    """With those left out. The others are as the shards want them."""
    for record in found.records:
        fields = {"width": record.width, "height": record.height, "labels": [found.classes[i] for i in record.labels]}
        fields |= {"boxes_xyxy_px": record.boxes_xyxy_px.tolist(), "areas_px": record.areas_px.tolist()}
        fields |= {"difficult": record.difficult.tolist(), "crowd": record.crowd.tolist()}
        assert parse_sidecar(note(**fields), "a", "here").boxes_xyxy_px.tolist() == record.boxes_xyxy_px.tolist()
    return sum(len(record.labels) for record in found.records) + found.dropped.get("degenerate boxes", 0)


def check_voc(root: Path, xml: bytes) -> int | None:
    """What is accepted is as the shards want it, and has no more objects than the file. Returns their number."""
    path = fresh(root / "Annotations" / "a.xml", xml)
    found = answer(path, read_voc, root, ["all"], DROP)
    if not found:
        return None
    count = count_objects(found)
    assert len(found.records) == 1 and count <= xml.count(b"<object")
    return count


@fuzzed
@given(edits(len(XML), XML_WORDS), st.sampled_from(ENCODINGS))
def test_voc(voc: Path, changes: list[Edit], encoding: str) -> None:
    xml = changed(XML, changes)
    check_voc(voc, xml if encoding == "utf-8" else xml.decode(errors="replace").encode(encoding))


@pytest.fixture(scope="module")
def plain_voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two images beside their XML, no ImageSets."""
    root = tmp_path_factory.mktemp("plain")
    for name in ("a", "b c.d"):
        (root / f"{name}.JPG").touch()
        (root / f"{name}.xml").write_bytes(XML)
    return root


@fuzzed
@given(edits(len(XML), XML_WORDS), st.sampled_from(ENCODINGS), st.booleans())
def test_plain_voc(plain_voc: Path, changes: list[Edit], encoding: str, from_zero: bool) -> None:
    xml = changed(XML, changes)
    xml = xml if encoding == "utf-8" else xml.decode(errors="replace").encode(encoding)
    path = fresh(plain_voc / "a.xml", xml)
    try:
        found = answer(path, lambda: read_voc(plain_voc, ["all"], DROP, from_zero=from_zero))
    finally:
        fresh(path, XML)
    assert not found or (len(found.records) == 2 and 2 <= count_objects(found) <= 2 + xml.count(b"<object"))


LIST = b"a\nb c.d 1\nsome/folder/a.JPG -1\n"


@fuzzed
@given(
    edits(len(LIST), [b"\n", b" -1", b" 1", b"b c.d", b"../", b"/dev/zero", b"\xff", b"\xef\xbb\xbf", b".JPG", b"\\"])
)
def test_lists_of_plain_voc(plain_voc: Path, changes: list[Edit]) -> None:
    text = changed(LIST, changes)
    fresh(plain_voc / "list.txt", text)
    found = answer(plain_voc, read_voc, plain_voc, ["list.txt"], DROP)
    assert not found or 1 <= len(found.records) <= len(text.split(b"\n"))


VALUES = st.integers(1, 100) | st.floats(1, 100) | st.integers(-9, 110) | st.floats() | st.text(max_size=4)


@fuzzed
@given(st.dictionaries(st.sampled_from([b"100", b"80", b"cat", b"10", b"1.5", b"50"]), VALUES, max_size=2))
def test_voc_with_other_values(voc: Path, values: dict[bytes, object]) -> None:
    xml = XML
    for old, value in values.items():
        xml = xml.replace(b">" + old + b"<", b">" + escape(str(value)).encode(errors="surrogatepass") + b"<")
    assert check_voc(voc, xml) in (None, 2)


COCO = json.dumps(
    {
        "images": [
            {"id": 7, "file_name": "a.jpg", "width": 50, "height": 60},
            {"id": 30, "file_name": "b.jpg", "width": 100, "height": 80, "license": 1},
        ],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1.5, 2, 10, 20.25], "area": 90.5, "iscrowd": 0},
            {"id": 2, "image_id": 30, "category_id": 90, "bbox": [5, 6, 7, 8], "segmentation": [[1, 2, 3, 4]]},
            {"id": 5, "image_id": 7, "category_id": 90, "bbox": [0, 0, 50, 60], "area": 70.5, "iscrowd": 1},
        ],
        "categories": [{"id": 90, "name": "toothbrush"}, {"id": 3, "name": "car"}],
    }
).encode()
COCO_WORDS = [b"NaN", b"1e999", b"-1", b"9" * 30, b"[" * 2000, b"{}", b"[]", b"null", b"true", b'"', b"../", b"/"]
COCO_WORDS += [b"\\u0000", b"\\ud800", b'"id": 7, ', b'"iscrowd": 2, ', b"\xff", b"\xef\xbb\xbf", b"0", b"3", b"90"]


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of two images."""
    root = tmp_path_factory.mktemp("coco")
    (root / "annotations").mkdir()
    (root / "all").mkdir()
    for name in "ab":
        (root / "all" / f"{name}.jpg").touch()
    return root


def check_coco(root: Path, text: bytes) -> int | None:
    fresh(root / "annotations" / "instances_all.json", text)
    found = answer(root, read_coco, root, ["all"], DROP)
    if not found:
        return None
    assert len(found.records) <= text.count(b'"file_name"')
    count = count_objects(found)
    assert count <= text.count(b'"bbox"')
    return count


@fuzzed
@given(edits(len(COCO), COCO_WORDS))
def test_coco(coco: Path, changes: list[Edit]) -> None:
    check_coco(coco, changed(COCO, changes))


@fuzzed
@given(st.dictionaries(st.sampled_from([b"50", b"60", b"1.5", b"20.25", b"90.5", b"90", b"8"]), VALUES, max_size=2))
def test_coco_with_other_values(coco: Path, values: dict[bytes, object]) -> None:
    text = COCO
    for old, value in values.items():
        text = re.sub(
            rb"(?<=[ \[])%s(?=[,\]}])" % re.escape(old), json.dumps(value).encode().replace(b"\\", rb"\\"), text
        )
    assert check_coco(coco, text) in (None, 3)


EXPORTED = json.dumps(
    {
        "info": {"year": 2024},
        "images": [
            {"id": "frame a", "file_name": "sub\\a.JPG", "width": 50.0, "height": 60},
            {"id": "7", "file_name": "b.png", "width": 100, "height": 80},
        ],
        "annotations": [
            {"id": 0, "image_id": "frame a", "category_id": 1.0, "bbox": [1.5, 2, 10, 20.25], "iscrowd": False},
            {"id": 0, "image_id": 7, "category_id": "2", "bbox": [5, 6, 7, 8], "segmentation": []},
        ],
        "categories": [
            {"id": 0, "name": "things", "supercategory": "none"},
            {"id": 1, "name": "car", "supercategory": "things"},
            {"id": 2, "name": "007", "supercategory": "things"},
        ],
    }
).encode()
EXPORTED_WORDS = [*COCO_WORDS, b"1.0", b'"7"', b"false", b"things", b"none", b'"id": 0, ', b"\\\\", b"car", b"frame a"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders with their JSON beside the images, as Roboflow writes them; one is as it should be."""
    root = tmp_path_factory.mktemp("exported")
    for split in ("train", "valid"):
        (root / split / "sub").mkdir(parents=True)
        (root / split / "sub/a.jpg").touch()
        (root / split / "b.PNG").touch()
        (root / split / "_annotations.coco.json").write_bytes(EXPORTED)
    return root


@fuzzed
@given(edits(len(EXPORTED), EXPORTED_WORDS))
def test_coco_as_exported(exported: Path, changes: list[Edit]) -> None:
    """Beside another file, with which it becomes one set: ids start anew in each, and classes may have other ids."""
    text = changed(EXPORTED, changes)
    fresh(exported / "train/_annotations.coco.json", text)
    found = answer(exported, read_coco, exported, ["train", "valid"], DROP)
    if found:
        assert 2 < len(found.records) <= 2 + text.count(b'"file_name"')
        assert 2 <= count_objects(found) <= 2 + text.count(b'"bbox"')
        assert len({record.image_id for record in found.records}) == len(found.records)


YOLO = b"0 0.5 0.25 0.2 0.5\n1 0.1 0.1 0.9 0.1 0.5 0.4\n\n1 0.5 0.5 1 1\n"
YOLO_WORDS = [
    b"nan",
    b"1e999",
    b"-1",
    b"9" * 400,
    b"0.5 " * 2000,
    b"\n",
    b"\xff",
    b"\xef\xbb\xbf",
    b"1_0",
    b"0x1",
    b"2 ",
]
YAML = b"path: .\ntrain: images/train\nval: [images/train]\nnames:\n  0: no\n  1: '007'\nnc: 2\n"
YAML_WORDS = [
    b"&a ",
    b"*a",
    b"!!python/name:os.system ",
    b"<<: ",
    b"- ",
    b"{",
    b"[" * 2000,
    b"\t",
    b"? ",
    b"|",
    b"\xff",
]
YAML_WORDS += [b"~", b"../", b"/dev/zero", b"names: ", b"train: ", b"nc: 1", b"0: ", b"\n", b"---\n", b"%"]


@pytest.fixture(scope="module")
def yolo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of one image."""
    root = tmp_path_factory.mktemp("yolo")
    for folder in ("images/train", "labels/train"):
        (root / folder).mkdir(parents=True)
    (root / "images/train/a.jpg").write_bytes(jpeg(width=100, height=80))
    (root / "labels/train/a.txt").write_bytes(YOLO)
    (root / "data.yaml").write_bytes(YAML)
    return root


@fuzzed
@given(edits(len(YOLO), YOLO_WORDS))
def test_yolo(yolo: Path, changes: list[Edit]) -> None:
    text = changed(YOLO, changes)
    path = fresh(yolo / "labels/train/a.txt", text)
    found = answer(path, read_yolo, yolo, ["train"], DROP)
    assert not found or count_objects(found) <= len(text.splitlines()) + text.count(b"\x0b")


@fuzzed
@given(edits(len(YAML), YAML_WORDS))
def test_yolo_yaml(yolo: Path, changes: list[Edit]) -> None:
    fresh(yolo / "labels/train/a.txt", YOLO)
    path = fresh(yolo / "data.yaml", changed(YAML, changes))
    try:
        found = answer(yolo, read_yolo, yolo, ["train"], DROP)
        assert not found or (len(found.records) == 1 and count_objects(found) == 3 and len(found.classes) >= 2)
    finally:
        fresh(path, YAML)


DATA = {
    "net.data": b"classes= 2\ntrain  = data/train.txt\nvalid = data/train.txt\nnames = data/net.names\nbackup = x/\n",
    "data/net.names": b"no\n007\n",
    "data/train.txt": b"data/images/a.jpg\nimages/../images/a.jpg\n",
}
DATA_WORDS = [
    b"=",
    b"\n",
    b"#",
    b"data/",
    b"../",
    b"/dev/zero",
    b"/etc",
    b"\xff",
    b"\xef\xbb\xbf",
    b"train = ",
    b"no\n",
    b"\0",
]


@pytest.fixture(scope="module")
def darknet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of one image, as darknet's own tools have it."""
    root = tmp_path_factory.mktemp("darknet")
    for folder in ("images", "labels"):
        (root / "data" / folder).mkdir(parents=True)
    (root / "data/images/a.jpg").write_bytes(jpeg(width=100, height=80))
    (root / "data/labels/a.txt").write_bytes(YOLO)
    for name, text in DATA.items():
        (root / name).write_bytes(text)
    return root


@fuzzed
@given(st.sampled_from(sorted(DATA)), edits(80, DATA_WORDS))
def test_yolo_data(darknet: Path, name: str, changes: list[Edit]) -> None:
    path = fresh(darknet / name, changed(DATA[name], changes))
    try:
        found = answer(darknet, read_yolo, darknet / "net.data", ["train"], DROP)
        assert not found or (count_objects(found) == 3 and len(found.classes) >= 2)
    finally:
        fresh(path, DATA[name])


# ---------------------------------------------------------------------------------------------------------- sidecars

NOTE = note(
    image_id="7",
    boxes_xyxy_px=[[0, 0.5, 40, 30], [1, 2, 3, 4]],
    labels=["cat", "dog"],
    areas_px=[5, 6.5],
    difficult=[False, True],
    crowd=[False, False],
)
NOTE_WORDS = [
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 400,
    b"9" * 5000,
    b"[" * 2000,
    b"[]",
    b"null",
    b"true",
    b'"',
    b"\\ud800",
]
NOTE_WORDS += [b"-", b",", b"}", b"{", b"\xff", b"\xfe\xff", b'"crowd": 1,', b'"labels": [],', b"0.1", b'""']
NUMBERS = st.integers(-1, 41) | st.floats(0, 41) | st.floats() | st.integers()
BOXES = st.lists(st.lists(NUMBERS, min_size=4, max_size=4).map(sorted), min_size=1, max_size=1)
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=8,
)
FIELDS = {
    "width": st.integers(0, 99) | ANYTHING,
    "boxes_xyxy_px": BOXES | ANYTHING,
    "labels": st.lists(st.text(), min_size=1, max_size=1) | ANYTHING,
    "areas_px": st.lists(NUMBERS, min_size=1, max_size=1) | ANYTHING,
    "difficult": st.lists(st.booleans(), min_size=1, max_size=1) | ANYTHING,
    "image_id": st.integers() | st.text() | ANYTHING,
}


def check_sidecar(text: bytes) -> None:
    found = answer("a.tar: key.json: ", parse_sidecar, text, "key", "a.tar: key.json")
    if not found:
        return
    count = len(found.names)
    assert found.boxes_xyxy_px.shape == (count, 4) and found.areas_px.shape == (count,)
    assert found.difficult.shape == found.crowd.shape == (count,)
    x1, y1, x2, y2 = found.boxes_xyxy_px.T
    assert ((x1 >= 0) & (x1 < x2) & (x2 <= found.width) & (y1 >= 0) & (y1 < y2) & (y2 <= found.height)).all()
    assert parse_sidecar(found.text(), "key", "here").text() == found.text()


@fuzzed
@given(edits(len(NOTE), NOTE_WORDS))
def test_sidecars(changes: list[Edit]) -> None:
    check_sidecar(changed(NOTE, changes))


@fuzzed
@given(
    st.lists(st.sampled_from(sorted(FIELDS)).flatmap(lambda name: st.tuples(st.just(name), FIELDS[name])), max_size=2)
)
def test_sidecars_with_other_values(fields: list[tuple[str, object]]) -> None:
    check_sidecar(note(**dict(fields)))


# --------------------------------------------------------------------------------------------------------------- tars

KINDS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
KEYS = ("a", "folder/b", "k" * 40, "d")
TAR_WORDS = [bytes(12), b"\xff" * 12, b"7" * 11, b"\x80" + bytes(11), b"x", b"g", b"L", b"5", b"../", bytes(BLOCK)]
TAR_WORDS += [b"path=", b"size=9", b"9" * 30, b"\n", b".jpg", b".json", b"/", b"ustar\0"]
IMAGE = jpeg(width=16, height=8)


@pytest.fixture(scope="module", params=KINDS)
def tar(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four samples; in the newer formats under names that take extension headers."""
    long = "" if request.param == "ustar" else "folder/" * 20
    files = [(f"{long}{key}{end}", data) for key in KEYS for end, data in ((".jpg", IMAGE), (".json", NOTE))]
    return write_tar(tmp_path_factory.mktemp("tar") / "whole.tar", files, KINDS[request.param])


def sealed(data: bytes) -> bytes:
    """With a right checksum in every block that is a header more or less."""
    blocks = [bytearray(data[place : place + BLOCK]) for place in range(0, len(data), BLOCK)]
    for block in blocks:
        if block[257:262] == b"ustar" and len(block) == BLOCK:
            block[148:156] = b" " * 8
            block[148:155] = b"%06o\0" % sum(block)
    return b"".join(blocks)


@fuzzed
@given(edits(20 * BLOCK, TAR_WORDS, "put end"))
def test_damaged_tars_lose_no_sample(tar: Path, changes: list[Edit]) -> None:
    found = answer("damaged.tar", scan_shard, fresh(tar.with_name("damaged.tar"), changed(tar.read_bytes(), changes)))
    assert found is None or found.shard.samples == len(KEYS)


@fuzzed
@given(edits(20 * BLOCK, TAR_WORDS) | edits(20 * BLOCK, TAR_WORDS, unit=BLOCK), st.booleans())
def test_tars_of_any_kind(tar: Path, changes: list[Edit], seal: bool) -> None:
    """Also with checksums that say that all is well, and whole blocks less or more."""
    data = changed(tar.read_bytes(), changes)
    path = fresh(tar.with_name("unusual.tar"), sealed(data) if seal else data)
    if found := answer(path, scan_shard, path):
        for entry in entries(path):
            assert BLOCK <= entry.image_offset <= entry.image_offset + entry.image_bytes <= len(data)
            assert BLOCK <= entry.json_offset <= entry.json_offset + entry.json_bytes <= len(data)
        columns = found.columns
        assert len(set(map(len, (columns["keys"], columns["widths"], columns["object_counts"])))) == 1
        assert columns["object_counts"].sum() == len(found.name_of_object) == len(columns["boxes_xyxy_px"])


# --------------------------------------------------------------------------------------------------------------- sets


@pytest.fixture(scope="module")
def small_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    for name in ("one", "two"):
        text = note(width=16, height=8, boxes_xyxy_px=[[0, 0, 3, 4]])
        write_tar(folder / f"{name}.tar", [(f"{name}.jpg", IMAGE), (f"{name}.json", text)])
    index_shards(folder, workers=1)
    return folder


@fuzzed
@given(
    st.sampled_from(["one.tar", "two.tar", "index.json", "index.npz"]),
    edits(3000, [b"0", b"1", b"}", b"one.tar", b"two.tar", b"../", b"PK", bytes(BLOCK)]),
)
def test_sets(small_set: Path, name: str, changes: list[Edit]) -> None:
    """No change of any byte of any file is overlooked."""
    whole = (small_set / name).read_bytes()
    data = changed(whole, changes)
    fresh(small_set / name, data)
    try:
        if data == whole:
            assert verify(small_set, workers=1).num_samples == 2
        else:
            with pytest.raises(ValueError, match=name):
                verify(small_set, workers=1)
    finally:
        fresh(small_set / name, whole)


@fuzzed
@given(edits(5500, [b"PK", b"<i8", b"|O", b"(9999999999,)", b"True", b"\x08", b"}", b"'shape'"]))
def test_columns_of_another_program(small_set: Path, changes: list[Edit]) -> None:
    """With the digests that say that all is well."""
    whole = {name: (small_set / name).read_bytes() for name in ("index.json", "index.npz")}
    fresh(small_set / "index.npz", changed(whole["index.npz"], changes))
    try:
        change_header(small_set, arrays_sha256=sha256(small_set / "index.npz"))
        found = answer("index.npz", ShardIndex.load, small_set)
        if found:
            assert found.num_samples == 2 and found.objects(1).stop == len(found.arrays["labels"]) == 2
    finally:
        for name, data in whole.items():
            fresh(small_set / name, data)


# ------------------------------------------------------------------------------------------------------------- images

IMAGES = [jpeg(width=64, height=48), cv2.imencode(".png", np.zeros((48, 64, 3), np.uint8))[1].tobytes()]


@fuzzed
@given(st.sampled_from(IMAGES), edits(3000, [b"\xff\xd8", b"\xff\xd9", b"\xff\xc0", b"\xff\xda", b"IHDR", b"IDAT"]))
def test_images(data: bytes, changes: list[Edit]) -> None:
    image = answer("", decode, changed(data, changes))
    assert image is None or (image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8 and image.size > 0)
