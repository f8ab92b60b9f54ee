"""Tars -> their index: what is in each tar, read from its bytes, and index.npz and index.json of all of them."""

import hashlib
import io
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.files import sha256, write_whole
from data.parallel import in_parallel
from data.records import Annotations
from data.shards.header import FORMAT, VERSION, Shard, seal
from data.shards.index import ShardIndex
from data.shards.sidecar import parse_sidecar
from data.shards.tar import entries

MAX_CLASSES = 32_767  # labels are int16
MAX_JSON = 2**28  # bytes of a KEY.json


class Scan(NamedTuple):
    """One shard, read from its bytes."""

    shard: Shard
    columns: dict[str, NDArray[Any]]  # of index.npz, without `shards` and `labels`; `object_counts` for `object_starts`
    names: list[str]  # of classes, one for each object


def index_shards(folder: Path, classes: Sequence[str] | None = None, workers: int = 0) -> ShardIndex:
    """Makes the index of tars that another program wrote (layout: docs/data.md). Images are not decoded: `verify`."""
    if (folder / "index.json").exists():
        raise ValueError(f"{folder} already has an index; remove its index.json to have it made again")
    if (folder / "unfinished.json").exists():
        raise ValueError(
            f"{folder} holds an interrupted run of `python -m data.shards`; repeat its command to finish it"
        )
    names = sorted(path.name for path in folder.glob("*.tar"))
    if wrong := [name for name in names if not (folder / name).is_file()]:
        raise ValueError(f"{folder / wrong[0]}: expected a tar, found a folder or no plain file; rename or remove it")
    if not names:
        raise ValueError(f"{folder}: expected tars of KEY.jpg and KEY.json, found no *.tar")
    given = tuple(classes or ())
    check_classes(given)
    source = Annotations(f"tars at {folder.resolve().name}", given, tuple(range(1, len(given) + 1)), [], {})
    write_index(folder, names, source, workers)
    return ShardIndex.load(folder)


def write_index(out: Path, names: Sequence[str], source: Annotations, workers: int) -> None:
    """index.npz and index.json of the tars with these names. Without classes in `source`: the sorted names found."""
    scans = in_parallel(scan_shard, [(out / name,) for name in names], workers, "indexing")
    scans = [scan for scan in scans if scan.shard.samples]
    if not scans:
        raise ValueError(f"{out}: expected samples in the tars, found none")
    classes = source.classes or tuple(sorted({name for scan in scans for name in scan.names}))
    check_classes(classes)
    category_ids = source.category_ids or tuple(range(1, len(classes) + 1))
    arrays = {name: np.concatenate([scan.columns[name] for scan in scans]) for name in scans[0].columns}
    arrays["labels"] = np.concatenate([labels_of(scan, classes) for scan in scans])
    _refuse_twice(out, arrays["keys"])
    if all(np.array_equal(arrays[f"source_{name}"], arrays[name]) for name in ("widths", "heights")):
        del arrays["source_widths"], arrays["source_heights"]  # no image was shrunk
    counts = arrays.pop("object_counts")
    arrays["object_starts"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    arrays["shards"] = np.repeat(np.arange(len(scans), dtype=np.int32), [scan.shard.samples for scan in scans])
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **dict(sorted(arrays.items())))
    write_whole(out / "index.npz", packed.getvalue())
    header = {
        "format": FORMAT,
        "version": VERSION,
        "source": source.source,
        "classes": classes,
        "category_ids": category_ids,
        "images": len(counts),
        "objects": int(counts.sum()),
        "difficult": int(arrays["difficult"].sum()),
        "crowd": int(arrays["crowd"].sum()),
        "dropped": source.dropped,
        "arrays_sha256": hashlib.sha256(packed.getvalue()).hexdigest(),
        "shards": [scan.shard._asdict() for scan in scans],
    }
    if source.source_ids:
        header["source_ids"] = source.source_ids
    write_whole(out / "index.json", seal(header))


def labels_of(scan: Scan, classes: Sequence[str]) -> NDArray[np.int16]:
    label_of = {name: label for label, name in enumerate(classes)}
    if unknown := sorted(set(scan.names) - label_of.keys()):
        raise ValueError(
            f"{scan.shard.name}: expected objects of the classes {', '.join(classes)}; found {', '.join(unknown)}; "
            "correct --classes"
        )
    return np.array([label_of[name] for name in scan.names], np.int16)


def _refuse_twice(out: Path, keys: NDArray[np.bytes_]) -> None:
    ordered = np.sort(keys)
    twice = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(twice):
        raise ValueError(f"{out}: expected each key once, found {twice[0].decode()!r} again; rename one of its samples")


def check_classes(classes: Sequence[str]) -> None:
    if len(classes) > MAX_CLASSES:
        raise ValueError(f"expected up to {MAX_CLASSES:,} classes, found {len(classes):,}; are labels class names?")
    wrong = [name for name in classes if not name.isprintable() or not name.strip()]
    wrong += [name for name, count in Counter(classes).items() if count > 1]
    if wrong:
        raise ValueError(f"expected a name of its own for each class, found {wrong[0]!r}; correct --classes")


def scan_shard(path: Path) -> Scan:
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
    shard = Shard(path.name, path.stat().st_size, sha256(path), len(found))
    return Scan(shard, columns, [name for sidecar in sidecars for name in sidecar.names])
