"""docs/data.md is enough: a reader written from it, without NumPy's and tarfile's help, reads what we write."""

import hashlib
import json
import re
import struct
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from data.loading.filling.order import Order, plan
from data.records import Annotations, Record
from data.shards.index import ShardIndex
from data.shards.read import ShardReader
from data.shards.writing.scan import index_shards
from data.shards.writing.write import write_shards
from tests.conftest import ROOT

DOCUMENT = (ROOT / "docs" / "data.md").read_text()
MASK = 2**64 - 1
Row = dict[str, Any]

# ---------------------------------------------------------------------------------------------------- the reader


def read_array(data: bytes) -> tuple[str, list[int], list[Any]]:
    """Type, shape and elements, row by row, of one .npy file."""
    assert data[:8] == b"\x93NUMPY\x01\x00"
    (length,) = struct.unpack_from("<H", data, 8)
    header, elements = data[10 : 10 + length].decode(), data[10 + length :]
    found = re.search(r"'descr': '([<|])(\w+)', 'fortran_order': False, 'shape': \(([\d, ]*)\)", header)
    assert found
    kind, shape = found[2], [int(number) for number in re.findall(r"\d+", found[3])]
    if kind.startswith("S"):
        width = int(kind[1:])
        parts = [elements[start : start + width] for start in range(0, len(elements), width)]
        return "S", shape, [part.rstrip(b"\0").decode("ascii") for part in parts]
    letter = {"i2": "h", "i4": "i", "i8": "q", "f8": "d", "b1": "?"}[kind]
    return kind, shape, [element for (element,) in struct.iter_unpack("<" + letter, elements)]


def canonical(value: Any) -> str:
    """The text whose digest header_sha256 is."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{canonical(key)}: {canonical(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(canonical, value)) + "]"
    if isinstance(value, int):
        return str(value)
    short = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f", '"': '\\"', "\\": "\\\\"}
    text = ""
    for letter in value:
        if letter in short:
            text += short[letter]
        elif " " <= letter < "\x7f":
            text += letter
        else:
            units = letter.encode("utf-16-be").hex()
            text += "".join("\\u" + units[start : start + 4] for start in range(0, len(units), 4))
    return f'"{text}"'


def read_header(folder: Path) -> Row:
    header = json.loads((folder / "index.json").read_bytes())
    digest = header.pop("header_sha256")
    assert hashlib.sha256(canonical(header).encode()).hexdigest() == digest
    assert (header["format"], header["version"]) == ("yolov2-shards", 2)
    assert hashlib.sha256((folder / "index.npz").read_bytes()).hexdigest() == header["arrays_sha256"]
    assert isinstance(header, dict)
    return header


def read_arrays(folder: Path) -> dict[str, tuple[str, list[int], list[Any]]]:
    with zipfile.ZipFile(folder / "index.npz") as packed:
        assert all(member.compress_type == zipfile.ZIP_STORED for member in packed.infolist())
        return {name.removesuffix(".npy"): read_array(packed.read(name)) for name in packed.namelist()}


def read_set(folder: Path) -> list[Row]:
    """Every sample with its image and its objects, each with the name of its class."""
    header, arrays = read_header(folder), {name: rows for name, (_, _, rows) in read_arrays(folder).items()}
    samples = []
    for number, key in enumerate(arrays["keys"]):
        shard = header["shards"][arrays["shards"][number]]
        with (folder / shard["name"]).open("rb") as tar:
            tar.seek(arrays["image_offsets"][number])
            image = tar.read(arrays["image_bytes"][number])
        start, stop = arrays["object_starts"][number : number + 2]
        samples.append(
            {
                "key": key,
                "image": image,
                "image_id": arrays["image_ids"][number],
                "width": arrays["widths"][number],
                "height": arrays["heights"][number],
                "boxes_xyxy_px": [arrays["boxes_xyxy_px"][4 * row : 4 * row + 4] for row in range(start, stop)],
                "areas_px": arrays["areas_px"][start:stop],
                "labels": [header["classes"][label] for label in arrays["labels"][start:stop]],
                "difficult": arrays["difficult"][start:stop],
                "crowd": arrays["crowd"][start:stop],
            }
        )
    return samples


def bits(count: int, seed: int, a: int, b: int) -> list[int]:
    words: list[int] = []
    while len(words) < count:
        c0, c1, c2, c3, k0, k1 = len(words) // 4 + 1, 0, b, 0, seed, a
        for _ in range(10):
            first, second = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
            c0, c1, c2, c3 = second >> 64 ^ c1 ^ k0, second & MASK, first >> 64 ^ c3 ^ k1, first & MASK
            k0, k1 = k0 + 0x9E3779B97F4A7C15 & MASK, k1 + 0xBB67AE8584CAA73B & MASK
        words += [c0, c1, c2, c3]
    return words[:count]


def epoch(sizes: list[int], seed: int, number: int, window: int) -> list[int]:
    """Sample numbers in their order."""
    words = bits(len(sizes), seed, number, 0)
    line = [
        (place // window, sum(sizes[:shard]) + inside)
        for place, shard in enumerate(sorted(range(len(sizes)), key=lambda shard: words[shard]))
        for inside in range(sizes[shard])
    ]
    words = bits(len(line), seed, number, 1)
    return [line[at][1] for at in sorted(range(len(line)), key=lambda at: (line[at][0], words[at]))]


# ------------------------------------------------------------------------------------------------- what it reads


def elsewhere(folder: Path) -> None:
    """Tars as another program may write them: GNU tar, names in folders, the least of annotations, other files."""
    image = cv2.imencode(".png", np.zeros((30, 40, 3), np.uint8))[1].tobytes()
    least = {"width": 40, "height": 30, "boxes_xyxy_px": [[1, 2, 11, 22], [0.5, 0, 40, 30]], "labels": ["owl", "ant"]}
    for tar in range(2):
        source = folder / f"part{tar}"
        (source / "deep").mkdir(parents=True)
        for number in range(3):
            key = source / "deep" / f"{tar}{number}"
            key.with_suffix(".png").write_bytes(image)
            key.with_suffix(".json").write_text(json.dumps(least | ({"image_id": 7, "extra": 1} if number else {})))
            key.with_suffix(".txt").write_text("passed over")
        (source / "README").write_text("passed over")
        names = sorted(str(path.relative_to(source)) for path in source.rglob("*") if path.is_file())
        subprocess.run(["tar", "-C", source, "-cf", folder / f"tar{tar}.tar", *names], check=True)
    index_shards(folder, workers=1)


def unusual(folder: Path) -> None:
    """Names beyond ASCII, crowds, an image without objects, areas that are not those of the boxes."""
    records = []
    (folder / "images").mkdir()
    for number in range(5):
        path = folder / "images" / f"image{number}.jpg"
        path.write_bytes(cv2.imencode(".jpg", np.full((20 + number, 30, 3), 9, np.uint8))[1].tobytes())
        boxes = np.array([[0.1, 0.2, 1 / 3, 19.7], [0, 0, 30, 20], [1e-7, 1, 2, 3]])[: number % 4]
        areas = boxes[:, 2] / 3
        marks = np.arange(len(boxes)) % 2 == 0, np.arange(len(boxes)) > 0
        labels = np.arange(len(boxes), dtype=np.int16)
        records.append(Record(path.stem, f"{10**6 + number}", path, 30, 20 + number, boxes, areas, labels, *marks))
    classes = ('quo"te\\', "Käfer \U0001f41e", "plain")
    given = Annotations("stränge\n\x7f", classes, (3, 90, 7), records, {"boxes ohne Fläche": 3})
    write_shards(given, folder, shard_mb=0.001, workers=1)


@pytest.fixture(params=["drawn", "unusual", "elsewhere"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if request.param == "drawn":
        return Path(request.getfixturevalue("shards")) / "train"
    {"unusual": unusual, "elsewhere": elsewhere}[request.param](tmp_path)
    return tmp_path


# ------------------------------------------------------------------------------------------------------ the tests


def test_the_reader_finds_what_the_program_finds(folder: Path) -> None:
    index, samples = ShardIndex.load(folder), read_set(folder)
    assert len(samples) == index.num_samples > 4
    with ShardReader(index) as reader:
        for number, sample in enumerate(samples):
            objects = index.objects(number)
            assert (sample["key"], sample["image_id"]) == (index.key(number), index.image_id(number))
            assert sample["image"] == reader.image(number)
            assert (sample["width"], sample["height"]) == index.size_px(number)
            assert sample["labels"] == [index.classes[label] for label in index.arrays["labels"][objects]]
            for name in ("boxes_xyxy_px", "areas_px", "difficult", "crowd"):
                assert sample[name] == index.arrays[name][objects].tolist()


def test_the_notes_in_the_tars_say_the_same(folder: Path) -> None:
    """Search through the bytes of the tar: the JSON of a key stands beside its image."""
    header, arrays = read_header(folder), read_arrays(folder)
    for number, sample in enumerate(read_set(folder)):
        tar = (folder / header["shards"][arrays["shards"][2][number]]["name"]).read_bytes()
        start = tar.index(f"{sample['key']}.json".encode() + b"\0") + 512
        note = json.loads(tar[start:].partition(b"\0")[0])
        assert set(note) - {"extra"} <= set(sample)
        for name, value in note.items():
            assert name == "extra" or sample[name] == (str(value) if name == "image_id" else value)


def test_counts_are_those_of_the_samples(folder: Path) -> None:
    header, samples = read_header(folder), read_set(folder)
    assert header["images"] == len(samples) == sum(shard["samples"] for shard in header["shards"])
    assert header["objects"] == sum(len(sample["labels"]) for sample in samples)
    for name in ("difficult", "crowd"):
        assert header[name] == sum(sum(sample[name]) for sample in samples)
    for shard in header["shards"]:
        data = (folder / shard["name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard["bytes"], shard["sha256"])
    assert len(header["classes"]) == len(header["category_ids"])


def test_index_json_is_written_as_described(folder: Path) -> None:
    header = json.loads((folder / "index.json").read_bytes())
    assert (folder / "index.json").read_text() == json.dumps(header, indent=1) + "\n"
    assert list(header) == documented("index.json")


def test_tars_made_elsewhere_get_what_is_missing(tmp_path: Path) -> None:
    elsewhere(tmp_path)
    samples = read_set(tmp_path)
    assert [sample["key"] for sample in samples] == [f"deep/{tar}{number}" for tar in range(2) for number in range(3)]
    assert [sample["image_id"] for sample in samples] == ["deep/00", "7", "7", "deep/10", "7", "7"]
    for sample in samples:
        assert sample["areas_px"] == [200, 39.5 * 30]
        assert sample["difficult"] == sample["crowd"] == [False, False]
    header = read_header(tmp_path)
    assert (header["classes"], header["category_ids"]) == (["ant", "owl"], [1, 2])


def test_samples_lie_in_the_order_that_is_described(shards: Path) -> None:
    header, keys = read_header(shards / "train"), read_arrays(shards / "train")["keys"][2]
    words = bits(len(keys), 0, 0, 0)
    assert keys == [sorted(keys)[at] for at in sorted(range(len(keys)), key=lambda at: words[at])]
    assert len(header["shards"]) > 3


@pytest.mark.parametrize(("seed", "window", "batch", "world_size"), [(0, 8, 8, 1), (7, 2, 12, 3), (2**40, 1, 6, 2)])
def test_batches_hold_what_the_document_says(shards: Path, seed: int, window: int, batch: int, world_size: int) -> None:
    sizes = [shard["samples"] for shard in read_header(shards / "train")["shards"]]
    stream = [(sample, number) for number in range(3) for sample in epoch(sizes, seed, number, window)]
    sides, batches_per_side = (320, 352, 384, 416, 448), 2
    order = Order(np.array(sizes), seed, window)
    for rank in range(world_size):
        plans = plan(
            order,
            start=0,
            stop=2 * sum(sizes),
            batch=batch,
            rank=rank,
            world_size=world_size,
            sides=sides,
            images_per_side=batches_per_side * batch,
        )
        seen = set()
        for number, ours in enumerate(plans):
            position, local = number * batch, batch // world_size
            part = stream[position + rank * local : position + (rank + 1) * local]
            assert list(zip(ours.samples.tolist(), ours.epochs.tolist(), strict=True)) == part
            (word,) = bits(1, seed, position // (batches_per_side * batch), 2)
            assert ours.side == sides[word % len(sides)]
            seen.add(ours.side)
        assert len(seen) > 1


# --------------------------------------------------------------------------------------------------- the document


def documented(section: str) -> list[str]:
    """Names in the first column of the section's table."""
    text = re.search(rf"^##+ {re.escape(section)}\n(.*?)(?=^##|\Z)", DOCUMENT, re.MULTILINE | re.DOTALL)
    assert text
    rows = re.findall(r"^\| (`.*?) \|", text[1], re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`(\w+)`", row)]


def test_the_document_lists_all_arrays_with_their_types(folder: Path) -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([NM+1, 4]+) \| (\w\d?) \|", DOCUMENT, re.MULTILINE)
    header, arrays = read_header(folder), read_arrays(folder)
    lengths = {"N": [header["images"]], "N+1": [header["images"] + 1], "M": [header["objects"]]}
    lengths["M, 4"] = [header["objects"], 4]
    assert {name: (kind, lengths[shape]) for name, shape, kind in rows} == {
        name: (kind, shape) for name, (kind, shape, _) in arrays.items()
    }


def test_the_document_lists_all_keys_of_a_note(shards: Path) -> None:
    tar = (shards / "train" / "shard-000000.tar").read_bytes()
    start = tar.index(b'{"image_id"')
    assert list(json.loads(tar[start:].partition(b"\0")[0])) == documented("KEY.json")
    example = re.search(r'^ +(\{"image_id": "000012".*?\})$', DOCUMENT, re.MULTILINE | re.DOTALL)
    assert example and list(json.loads(example[1])) == documented("KEY.json")
