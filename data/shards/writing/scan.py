"""Tars -> their index: the content of each tar, read from its bytes, then index.npz and index.json of all."""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.files import replacing, sha256, write_whole
from data.parallel import in_parallel
from data.records import Annotations
from data.shards.format.header import FORMAT, MAX_CLASSES, VERSION, Shard, seal
from data.shards.format.sidecar import parse_sidecar
from data.shards.format.tar import entries
from data.shards.index import ShardIndex
from data.shards.writing.pack import Packing
from data.wording import in_words, is_class_name

MAX_JSON = 2**28  # bytes of a KEY.json


class Scan(NamedTuple):
    """The content of one shard, read from its bytes."""

    shard: Shard
    columns: dict[str, NDArray[Any]]  # of index.npz, without `shards` and `labels`; `object_counts` for `object_starts`
    names: list[str]  # of classes, each once
    name_of_object: NDArray[np.int32]  # index into `names`


def index_shards(folder: Path, classes: Sequence[str] | None = None, *, workers: int) -> ShardIndex:
    """Makes the index of tars that another program wrote (layout: docs/data.md). Images are not decoded: `verify`."""
    if (folder / "index.json").exists():
        raise ValueError(f"{folder} already has an index; remove its index.json to make it again")
    if (folder / "unfinished.json").exists():
        raise ValueError(
            f"{folder} holds an interrupted run of `python -m data.shards`; repeat its command to finish it"
        )
    names = sorted(path.name for path in folder.glob("*.tar"))
    if wrong := [name for name in names if not (folder / name).is_file()]:
        raise ValueError(f"{folder / wrong[0]}: expected a tar, found a folder or special file; rename or remove it")
    if not names:
        raise ValueError(f"{folder}: expected tars of KEY.jpg and KEY.json, found no *.tar")
    given = tuple(classes or ())
    check_classes(given)
    source = Annotations(f"tars at {folder.resolve().name}", given, tuple(range(1, len(given) + 1)), [], {})
    with tempfile.TemporaryDirectory(prefix=".index-", dir=folder) as scans:
        jobs = [(folder / name, Path(scans) / f"{number}.columns") for number, name in enumerate(names)]
        in_parallel(write_scan, jobs, workers, "indexing")
        write_index(folder, [scan for _, scan in jobs], source)
    return ShardIndex.load(folder)


def write_index(out: Path, scans: Sequence[Path], source: Annotations) -> None:
    """Writes index.npz and index.json of scanned tars. Without classes in `source`: the sorted names found.

    Memory holds one scan at a time, and the key and id of each image.
    """
    classes = source.classes or tuple(sorted({name for scan in scans for name in read_scan(scan).names}))
    check_classes(classes)
    shards, texts, totals, shrunk = list[Shard](), [list[NDArray[Any]](), list[NDArray[Any]]()], Counter[str](), False
    with Packing(out / "index.npz") as packing:
        packing.add({"object_starts": np.zeros(1, np.int64)})
        for scan in map(read_scan, scans):
            if not scan.shard.samples:
                continue
            columns = dict(scan.columns) | {"labels": labels_of(scan, classes)}
            for kept, name in zip(texts, ("keys", "image_ids"), strict=True):
                kept.append(columns.pop(name))
            starts = totals["objects"] + np.cumsum(columns.pop("object_counts"))
            packing.add(columns | {"object_starts": starts, "shards": np.full(len(starts), len(shards), np.int32)})
            shrunk |= any((columns[f"source_{side}"] != columns[side]).any() for side in ("widths", "heights"))
            marks = {name: int(columns[name].sum()) for name in ("difficult", "crowd")}
            totals.update(marks, images=len(starts), objects=len(columns["labels"]))
            shards.append(scan.shard)
        if not shards:
            raise ValueError(f"{out}: expected samples in the tars, found none")
        keys, image_ids = (np.concatenate(kept) for kept in texts)
        _refuse_twice(out, keys)
        packing.add({"keys": keys, "image_ids": image_ids})
        packing.pack(*([] if shrunk else ["source_widths", "source_heights"]))
    header = {
        "format": FORMAT,
        "version": VERSION,
        "source": source.source,
        "classes": classes,
        "category_ids": source.category_ids or tuple(range(1, len(classes) + 1)),
        **{name: totals[name] for name in ("images", "objects", "difficult", "crowd")},
        "dropped": source.dropped,
        "arrays_sha256": sha256(out / "index.npz"),
        "shards": [shard._asdict() for shard in shards],
    }
    write_whole(out / "index.json", seal(header | ({"source_ids": source.source_ids} if source.source_ids else {})))


def labels_of(scan: Scan, classes: Sequence[str]) -> NDArray[np.int16]:
    """[M] the label of each object of a shard. ValueError for a class that is not listed."""
    label_of = {name: label for label, name in enumerate(classes)}
    if unknown := sorted(set(scan.names) - label_of.keys()):
        raise ValueError(
            f"{scan.shard.name}: expected objects of the classes {in_words(classes)}; found {in_words(unknown)}; "
            "correct --classes"
        )
    return np.array([label_of[name] for name in scan.names], np.int16)[scan.name_of_object]


def _refuse_twice(out: Path, keys: NDArray[np.bytes_]) -> None:
    ordered = np.sort(keys)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise ValueError(f"{out}: expected each key once, found {twice[0].decode()!r} again; rename one of its samples")


def check_classes(classes: Sequence[str]) -> None:
    """ValueError unless the names are distinct, printable and not too many."""
    if len(classes) > MAX_CLASSES:
        raise ValueError(f"expected up to {MAX_CLASSES:,} classes, found {len(classes):,}; are labels class names?")
    wrong = [name for name in classes if not is_class_name(name)]
    wrong += [name for name, count in Counter(classes).items() if count > 1]
    if wrong:
        raise ValueError(f"expected a distinct name for each class, found {wrong[0][:80]!r}; correct --classes")


def scan_shard(path: Path) -> Scan:
    """Reads a tar: where its images are, and all of its annotations."""
    found = list(entries(path))
    with path.open("rb") as file:
        for entry in found:
            if entry.json_bytes > MAX_JSON:
                raise ValueError(f"{path}: {entry.key}.json has {entry.json_bytes:,} bytes, more than {MAX_JSON:,}")
        texts = [os.pread(file.fileno(), entry.json_bytes, entry.json_offset) for entry in found]
    sidecars = [
        parse_sidecar(text, entry.key, f"{path}: {entry.key}.json") for text, entry in zip(texts, found, strict=True)
    ]
    columns: dict[str, NDArray[Any]] = {
        "keys": np.array([entry.key for entry in found], dtype="S"),
        "image_ids": np.array([sidecar.image_id.encode() for sidecar in sidecars], dtype="S"),
        "image_offsets": np.array([entry.image_offset for entry in found], np.int64),
        "image_bytes": np.array([entry.image_bytes for entry in found], np.int64),
        "widths": np.array([sidecar.width for sidecar in sidecars], np.int32),
        "heights": np.array([sidecar.height for sidecar in sidecars], np.int32),
        "source_widths": np.array([(one.source_size or (one.width, one.height))[0] for one in sidecars], np.int32),
        "source_heights": np.array([(one.source_size or (one.width, one.height))[1] for one in sidecars], np.int32),
        "object_counts": np.array([len(sidecar.names) for sidecar in sidecars], np.int64),
        "boxes_xyxy_px": np.concatenate([np.empty((0, 4)), *(sidecar.boxes_xyxy_px for sidecar in sidecars)]),
        "areas_px": np.concatenate([np.empty(0), *(sidecar.areas_px for sidecar in sidecars)]),
        "difficult": np.concatenate([np.empty(0, np.bool_), *(sidecar.difficult for sidecar in sidecars)]),
        "crowd": np.concatenate([np.empty(0, np.bool_), *(sidecar.crowd for sidecar in sidecars)]),
    }
    names = sorted({name for sidecar in sidecars for name in sidecar.names})
    number_of = {name: number for number, name in enumerate(names)}
    objects = np.array([number_of[name] for sidecar in sidecars for name in sidecar.names], np.int32)
    return Scan(Shard(path.name, path.stat().st_size, sha256(path), len(found)), columns, names, objects)


def write_scan(tar: Path, path: Path) -> None:
    """Writes the content of a tar, for `write_index`."""
    scan = scan_shard(tar)
    about = np.frombuffer(json.dumps([scan.shard._asdict(), scan.names]).encode(), np.uint8)
    with replacing(path) as file:
        np.savez(file, allow_pickle=False, about=about, name_of_object=scan.name_of_object, **scan.columns)


def read_scan(path: Path) -> Scan:
    with np.load(path, allow_pickle=False) as stored:
        columns = {name: stored[name] for name in stored.files}
    shard, names = json.loads(columns.pop("about").tobytes())
    return Scan(Shard(**shard), columns, names, columns.pop("name_of_object"))
