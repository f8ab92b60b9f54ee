"""Records -> tars and their index. The same input gives the same bytes, whatever the number of processes.

A shard is written under a temporary name, synced and renamed; index.json comes last: a folder that has one is
complete. A run that was interrupted leaves whole shards and `unfinished.json`; the same command goes on from there.
"""

import dataclasses
import hashlib
import io
import json
import math
import os
import re
import tarfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.images.decode import decode
from data.parallel import in_parallel
from data.randomness import random_bits
from data.records import Annotations, Record
from data.shards.index import FORMAT, VERSION, Scan, ShardIndex, scan_shard, seal
from data.shards.sidecar import Note
from data.shards.tar import entries

SHARD_MB = 32  # eight, a window, have to be there before the first batch; fewer mix worse (docs/data.md)
MAX_CLASSES = 32_767  # labels are int16
NUM_LISTED = 10  # an error about many things shows this many of them


def write_shards(
    annotations: Annotations,
    out: Path,
    *,
    shard_mb: float = SHARD_MB,
    workers: int = 0,
    drop_corrupt: bool = False,
) -> ShardIndex:
    """Writes the set into `out`. Every image is decoded once on the way and its size compared with the annotation."""
    if not annotations.records:
        raise ValueError(f"{annotations.source}: no images to write")
    if not 0 < shard_mb < math.inf:
        raise ValueError(f"--shard-mb: expected a size above 0, found {shard_mb}")
    _check_classes(annotations.classes)
    _check_keys(annotations)
    out.mkdir(parents=True, exist_ok=True)
    groups = _group(annotations.records, int(shard_mb * 1e6))
    _take_up(out, _plan_digest(annotations, groups))
    jobs = [(out / _shard_name(number), group, annotations.classes) for number, group in enumerate(groups)]
    left_out = in_parallel(_write_shard, jobs, workers, "writing shards")
    faults = [fault for found in left_out for fault in found]
    dropped = dict(annotations.dropped)
    if faults:
        if not drop_corrupt or len(faults) == len(annotations.records):
            _clear(out)
            raise ValueError(
                f"{len(faults)} of {len(annotations.records)} images cannot be used:{listed(faults)}\n"
                "repair them, or leave them out with --drop-corrupt"
            )
        dropped["corrupt images"] = len(faults)
    names = [
        _shard_name(number)
        for number, (group, found) in enumerate(zip(groups, left_out, strict=True))
        if len(found) < len(group)
    ]
    source = dataclasses.replace(annotations, dropped=dropped, records=[])
    write_index(out, names, source, workers)
    for path in out.glob("shard-*.tar"):  # of which every image was left out
        if path.name not in names:
            path.unlink()
    (out / "unfinished.json").unlink()
    return ShardIndex.load(out)


def index_shards(folder: Path, classes: Sequence[str] | None = None, workers: int = 0) -> ShardIndex:
    """Makes the index of tars that another program wrote (layout: docs/data.md). Images are not decoded: `verify`."""
    if (folder / "index.json").exists():
        raise ValueError(f"{folder} already has an index; remove its index.json to have it made again")
    if (folder / "unfinished.json").exists():
        raise ValueError(
            f"{folder} holds an interrupted run of `python -m data.shards`; repeat its command to finish it"
        )
    names = sorted(path.name for path in folder.glob("*.tar"))
    if not names:
        raise ValueError(f"{folder}: expected tars of KEY.jpg and KEY.json, found no *.tar")
    given = tuple(classes or ())
    _check_classes(given)
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
    _check_classes(classes)
    category_ids = source.category_ids or tuple(range(1, len(classes) + 1))
    arrays = {name: np.concatenate([scan.columns[name] for scan in scans]) for name in scans[0].columns}
    arrays["labels"] = np.concatenate([labels_of(scan, classes) for scan in scans])
    _refuse_twice(out, arrays["keys"])
    counts = arrays.pop("object_counts")
    arrays["object_starts"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    arrays["shards"] = np.repeat(np.arange(len(scans), dtype=np.int32), [scan.shard.samples for scan in scans])
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **dict(sorted(arrays.items())))
    _write_file(out / "index.npz", packed.getvalue())
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
    _write_file(out / "index.json", seal(header))


def listed(faults: Sequence[str]) -> str:
    """The first of them, each on a line of its own."""
    more = ["..."] if len(faults) > NUM_LISTED else []
    return "".join(f"\n  {fault}" for fault in [*faults[:NUM_LISTED], *more])


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


def _check_classes(classes: Sequence[str]) -> None:
    if len(classes) > MAX_CLASSES:
        raise ValueError(f"expected up to {MAX_CLASSES:,} classes, found {len(classes):,}; are labels class names?")
    wrong = [name for name in classes if not name.isprintable() or not name.strip()]
    wrong += [name for name, count in Counter(classes).items() if count > 1]
    if wrong:
        raise ValueError(f"expected a name of its own for each class, found {wrong[0]!r}; correct --classes")


def _check_keys(annotations: Annotations) -> None:
    seen: dict[str, Record] = {}
    for record in annotations.records:
        if not re.fullmatch(r"[!-~]{1,95}", record.key) or any(letter in "./\\" for letter in record.key):
            raise ValueError(
                f"{record.image}: expected a name of up to 95 ASCII letters without dots, slashes and spaces, found "
                f"{record.key!r}; rename the image"
            )
        if record.key in seen:
            raise ValueError(f"{record.image} and {seen[record.key].image} would both be sample {record.key!r}")
        seen[record.key] = record


# ---------------------------------------------------------------------------------------------------------- one shard


def _shard_name(number: int) -> str:
    return f"shard-{number:06d}.tar"


def _group(records: Sequence[Record], target_bytes: int) -> list[list[Record]]:
    """Sorted by key, shuffled once (the same way for the same number of records), cut where a shard is full."""
    by_key = sorted(records, key=lambda record: record.key)
    groups: list[list[Record]] = [[]]
    filled = 0
    for place in np.argsort(random_bits(len(by_key), 0), kind="stable"):
        record = by_key[place]
        size = record.image.stat().st_size
        if groups[-1] and filled + size > target_bytes:
            groups.append([])
            filled = 0
        groups[-1].append(record)
        filled += size
    return groups


def _write_shard(path: Path, records: list[Record], classes: tuple[str, ...]) -> list[str]:
    """Writes one tar, or takes up the one that is there. Returns one sentence for each image left out."""
    if path.exists():  # renamed into place by an interrupted run of the same plan, so whole
        there = {entry.key for entry in entries(path)}
        faults = [(record, _fault(record, record.image.read_bytes())) for record in records if record.key not in there]
        return [f"{record.image}: {fault}" for record, fault in faults]
    left_out = []
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
            for record in records:
                data = record.image.read_bytes()
                fault = _fault(record, data)
                if fault:
                    left_out.append(f"{record.image}: {fault}")
                    continue
                _add(tar, record.key + record.image.suffix.lower().replace(".jpeg", ".jpg"), data)
                _add(tar, record.key + ".json", _note(record, classes).text())
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return left_out


def _fault(record: Record, data: bytes) -> str | None:
    try:
        height, width = decode(data).shape[:2]
    except ValueError as error:
        return f"does not decode: {error}"
    if (width, height) != (record.width, record.height):
        return f"is {width}x{height} px, its annotation says {record.width}x{record.height}"
    return None


def _note(record: Record, classes: tuple[str, ...]) -> Note:
    return Note(
        image_id=record.image_id,
        width=record.width,
        height=record.height,
        boxes_xyxy_px=record.boxes_xyxy_px,
        areas_px=record.areas_px,
        names=[classes[label] for label in record.labels],
        difficult=record.difficult,
        crowd=record.crowd,
    )


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # owner, mode and time are constants: the same input gives the same bytes
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


# -------------------------------------------------------------------------------------------------- interrupted runs


def _plan_digest(annotations: Annotations, groups: Sequence[Sequence[Record]]) -> str:
    """Of all that decides the bytes of the shards. An image file that was touched counts as another one."""
    digest = hashlib.sha256(json.dumps([VERSION, annotations.classes]).encode())
    for group in groups:
        digest.update(b"shard")
        for record in group:
            status = record.image.stat()
            text = [record.key, str(record.image), status.st_size, status.st_mtime_ns]
            digest.update(json.dumps(text).encode() + _note(record, annotations.classes).text())
    return digest.hexdigest()


def _take_up(out: Path, plan: str) -> None:
    """Keeps what an interrupted run of the same plan has finished, clears away everything else it left."""
    started, text = out / "unfinished.json", json.dumps({"plan": plan}).encode()
    same = started.exists() and started.read_bytes() == text
    if (out / "index.json").exists() and not same:  # with it: interrupted between its last two steps
        raise ValueError(f"{out} already holds a finished set of shards; remove it or choose another folder")
    if not same:
        foreign = sorted(path.name for path in out.glob("*.tar"))
        if foreign and not started.exists():
            raise ValueError(
                f"{out}: expected an empty folder, found {foreign[0]}, which no run of this command left unfinished; "
                "choose another folder, or make the index of these tars: python -m data.shards index"
            )
        _clear(out)
        _write_file(started, text)
    for path in out.glob("shard-*.part"):
        path.unlink()


def _clear(out: Path) -> None:
    for pattern in ("index.json", "shard-*.tar", "shard-*.part", "index.*.part", "index.npz", "unfinished.json*"):
        for path in out.glob(pattern):
            path.unlink()


def _write_file(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
