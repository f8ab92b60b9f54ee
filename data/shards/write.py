"""Records -> tars and their index. The same input gives the same bytes, whatever the number of processes.

A shard is written under a temporary name, synced and renamed; index.json comes last: a folder that has one is
complete. A run that was interrupted leaves whole shards and `unfinished.json`; the same command continues it.
"""

import dataclasses
import io
import json
import math
import os
import re
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from data.files import only_user, replacing, write_whole
from data.images.prepare import Prepared, prepare
from data.parallel import in_parallel
from data.randomness import Purpose, random_bits
from data.records import Annotations, Findings, Record, listed
from data.shards.index import ShardIndex
from data.shards.scan import check_classes, write_index, write_scan
from data.shards.sidecar import sidecar_of
from data.shards.tar import entries
from data.shards.unfinished import clear, plan_digest, take_up, without_parts

SHARD_MB = 32  # eight, a window, have to be there before the first batch; fewer mix worse (docs/data.md)
MAX_IMAGE_BYTES = 2**30  # of a file


class Pixels(NamedTuple):
    """What becomes of an image on its way into a shard; see `prepare`."""

    exif: Literal["turn", "keep"] = "turn"
    max_side: int | None = None


def write_shards(
    annotations: Annotations,
    out: Path,
    *,
    shard_mb: float = SHARD_MB,
    workers: int = 0,
    drop_corrupt: bool = False,
    pixels: Pixels | None = None,
    findings: Findings | None = None,
) -> ShardIndex:
    """Writes the set into `out`. Every image is decoded once on the way and its size compared with the annotation.

    findings: gets what looks wrong about the images.
    """
    if not annotations.records:
        raise ValueError(f"{annotations.source}: no images to write")
    if not 0 < shard_mb < math.inf:
        raise ValueError(f"--shard-mb: expected a size above 0, found {shard_mb}")
    pixels = pixels or Pixels()
    if pixels.max_side is not None and pixels.max_side < 32:
        raise ValueError(f"--max-side: expected 32 px or more, found {pixels.max_side}")
    check_classes(annotations.classes)
    _check_keys(annotations)
    out.mkdir(parents=True, exist_ok=True)
    with only_user(out, "writes shards"), without_parts(out):
        return _write(annotations, out, int(shard_mb * 1e6), workers, drop_corrupt, pixels, findings or Findings())


def _write(
    annotations: Annotations,
    out: Path,
    shard_bytes: int,
    workers: int,
    drop_corrupt: bool,
    pixels: Pixels,
    findings: Findings,
) -> ShardIndex:
    groups = _group(annotations.records, shard_bytes)
    take_up(out, plan_digest(annotations, groups, pixels))
    jobs = [(out / _shard_name(number), group, annotations.classes, pixels) for number, group in enumerate(groups)]
    written = in_parallel(_write_shard, jobs, workers, "writing shards")
    faults = [fault for _, found in written for fault in found]
    for found, _ in written:
        findings.merge(found)
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
        for number, (group, (_, found)) in enumerate(zip(groups, written, strict=True))
        if len(found) < len(group)
    ]
    scans = [(out / name).with_suffix(".columns") for name in names]
    write_index(out, scans, dataclasses.replace(annotations, dropped=dropped, records=[]))
    for path in out.glob("shard-*.tar"):  # of which every image was left out
        if path.name not in names:
            path.unlink()
    for path in [*out.glob("shard-*.findings"), *out.glob("shard-*.columns")]:
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


# ---------------------------------------------------------------------------------------------------------- one shard


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


def _write_shard(
    path: Path, records: list[Record], classes: tuple[str, ...], pixels: Pixels
) -> tuple[Findings, list[str]]:
    """Writes one tar, or takes up the one that is there. Returns one sentence for each image left out."""
    notes, scan = path.with_suffix(".findings"), path.with_suffix(".columns")
    if (
        path.exists() and scan.exists() and notes.exists()
    ):  # renamed into place by an interrupted run of the same plan, so whole
        found, faults = json.loads(notes.read_bytes())
        for _ in entries(path):
            pass
        return Findings({what: (count, shown) for what, (count, shown) in found.items()}), faults
    findings, faults = Findings(), list[str]()
    with replacing(path) as file, tarfile.open(fileobj=file, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
        for record in records:
            prepared = _prepared(record, pixels)
            if isinstance(prepared, str):
                faults.append(f"{record.image}: {prepared}")
                continue
            for mark in prepared.marks:
                findings.add(mark, [record.image.name])
            extension = prepared.extension or record.image.suffix.lower().replace(".jpeg", ".jpg")[1:]
            _add(tar, f"{record.key}.{extension}", prepared.data)
            _add(tar, f"{record.key}.json", sidecar_of(record, classes, (prepared.width, prepared.height)).text())
    write_scan(path, scan)
    write_whole(notes, json.dumps([findings.found, faults]))
    return findings, faults


def _prepared(record: Record, pixels: Pixels) -> Prepared | str:
    """Prepared image, or the reason why it cannot be used."""
    try:
        with record.image.open("rb") as file:
            if os.fstat(file.fileno()).st_size > MAX_IMAGE_BYTES:
                return f"has more than {MAX_IMAGE_BYTES:,} bytes"
            data = file.read()
        return prepare(data, record.width, record.height, **pixels._asdict())
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    except ValueError as error:
        return str(error)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # owner, mode and time are constants: the same input gives the same bytes
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
