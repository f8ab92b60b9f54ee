"""Records -> tars and their index. The same input gives the same bytes, whatever the number of processes.

A shard is written under a temporary name, synced and renamed; index.json comes last: a folder that has one is
complete. A run that was interrupted leaves whole shards and `unfinished.json`; the same command continues it.
"""

import dataclasses
import io
import math
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.files import replacing
from data.images.decode import decode
from data.parallel import in_parallel
from data.randomness import Purpose, random_bits
from data.records import Annotations, Record, listed
from data.shards.index import ShardIndex
from data.shards.scan import check_classes, write_index
from data.shards.sidecar import sidecar_of
from data.shards.tar import entries
from data.shards.unfinished import clear, plan_digest, take_up

SHARD_MB = 32  # eight, a window, have to be there before the first batch; fewer mix worse (docs/data.md)


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
    check_classes(annotations.classes)
    _check_keys(annotations)
    out.mkdir(parents=True, exist_ok=True)
    groups = _group(annotations.records, int(shard_mb * 1e6))
    take_up(out, plan_digest(annotations, groups))
    jobs = [(out / _shard_name(number), group, annotations.classes) for number, group in enumerate(groups)]
    left_out = in_parallel(_write_shard, jobs, workers, "writing shards")
    faults = [fault for found in left_out for fault in found]
    dropped = dict(annotations.dropped)
    if faults:
        if not drop_corrupt or len(faults) == len(annotations.records):
            clear(out)
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


def _shard_name(number: int) -> str:
    return f"shard-{number:06d}.tar"


def _group(records: Sequence[Record], target_bytes: int) -> list[list[Record]]:
    """Sorted by key, shuffled once (the same way for the same number of records), cut where a shard is full."""
    by_key = sorted(records, key=lambda record: record.key)
    groups: list[list[Record]] = [[]]
    filled = 0
    for place in np.argsort(random_bits(len(by_key), Purpose.WRITING, 0), kind="stable"):
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
    with replacing(path) as file, tarfile.open(fileobj=file, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        for record in records:
            data = record.image.read_bytes()
            fault = _fault(record, data)
            if fault:
                left_out.append(f"{record.image}: {fault}")
                continue
            _add(tar, record.key + record.image.suffix.lower().replace(".jpeg", ".jpg"), data)
            _add(tar, record.key + ".json", sidecar_of(record, classes).text())
    return left_out


def _fault(record: Record, data: bytes) -> str | None:
    try:
        height, width = decode(data).shape[:2]
    except ValueError as error:
        return f"does not decode: {error}"
    if (width, height) != (record.width, record.height):
        return f"is {width}x{height} px, its annotation says {record.width}x{record.height}"
    return None


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # owner, mode and time are constants: the same input gives the same bytes
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
