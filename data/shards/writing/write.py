"""Records -> tars and their index. The same input gives the same bytes, whatever the number of processes or machines.

A shard is written under a temporary name, synced and renamed; index.json comes last: a folder that has one is
complete. An interrupted run leaves whole shards and `unfinished.json`; the same command continues it. Parts of a set
are such runs, each of which leaves the others' shards alone; the last one to end makes the index of all.
"""

import dataclasses
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from data.files import locked_folder
from data.parallel import in_parallel
from data.randomness import Purpose, random_bits
from data.records import Annotations, Findings, Record, SomeRecords
from data.shards.index import ShardIndex
from data.shards.writing.one_shard import Pixels, is_written, write_shard
from data.shards.writing.scan import check_classes, write_index
from data.shards.writing.unfinished import clear, join, plan_digest, resume_or_begin, without_parts
from data.wording import counted, listed

SHARD_MB = 32  # a window of eight must be there before the first batch; fewer shards mix worse (docs/data.md)


class Part(NamedTuple):
    """Every `of`-th shard, from `number` on, which counts from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        part = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 1 <= part.number <= part.of:
            raise ValueError(f"--part: expected one of several parts, such as 3/16, found {text!r}; correct it")
        return part


class Writing(TypedDict, total=False):
    """Choices that every way of writing a set has."""

    shard_mb: float  #: [MB] of one shard; default: SHARD_MB
    workers: int  #: processes; default: one for each core
    drop_corrupt: bool  #: leave out images that cannot be used
    pixels: Pixels
    findings: Findings  #: receives what looks wrong about the images


class _Plan(NamedTuple):
    """The plan of a set: the rows of each shard's records."""

    annotations: Annotations
    out: Path
    groups: list[NDArray[np.int64]]
    pixels: Pixels
    choices: Writing

    def write(self, numbers: Sequence[int]) -> list[tuple[Findings, list[str]]]:
        """Writes those of these shards that are not there yet."""
        given, jobs = self.annotations, []
        for number in numbers:
            records = SomeRecords(given.records, self.groups[number])
            jobs.append((self.path(number), records, given.classes, self.pixels))
        return in_parallel(write_shard, jobs, self.choices.get("workers", 0), "writing shards")

    @property
    def drops(self) -> bool:
        return self.choices.get("drop_corrupt", False)

    def path(self, number: int) -> Path:
        return self.out / f"shard-{number:06d}.tar"

    def is_written(self) -> bool:
        return all(is_written(self.path(number)) for number in range(len(self.groups)))


def write_shards(annotations: Annotations, out: Path, **choices: Unpack[Writing]) -> ShardIndex:
    """Writes the set into `out`. Every image is decoded once, and its size compared with the annotation."""
    plan = _planned(annotations, out, choices)
    with locked_folder(out, "is writing shards"), without_parts(out):
        return _write(plan)


def write_part(part: Part, annotations: Annotations, out: Path, **choices: Unpack[Writing]) -> ShardIndex | None:
    """Like `write_shards`, for some shards; the part that ends last makes the index of all, the others return None."""
    plan = _planned(annotations, out, choices)
    with locked_folder(out, "is writing all shards", shared=True):
        join(out, plan_digest(annotations, plan.groups, plan.pixels))
        written = plan.write(range(part.number - 1, len(plan.groups), part.of))
        if (faults := [fault for _, found in written for fault in found]) and not plan.drops:
            raise _unusable(faults, annotations)
    if not plan.is_written():
        return None
    with locked_folder(out, "is writing shards", wait=True), without_parts(out):
        if (out / "index.json").exists() and not (out / "unfinished.json").exists():  # another part came first
            return ShardIndex.load(out)
        return _write(plan)


def _planned(annotations: Annotations, out: Path, choices: Writing) -> _Plan:
    assert choices.keys() <= Writing.__optional_keys__, f"expected {Writing.__optional_keys__}, found {choices.keys()}"
    shard_mb, pixels = choices.get("shard_mb", SHARD_MB), choices.get("pixels", Pixels())
    if not annotations.records:
        raise ValueError(f"{annotations.source}: no images to write")
    if not 0 < shard_mb < math.inf:
        raise ValueError(f"--shard-mb: expected a size above 0, found {shard_mb}")
    if pixels.max_side is not None and pixels.max_side < 32:
        raise ValueError(f"--max-side: expected 32 px or more, found {pixels.max_side}")
    check_classes(annotations.classes)
    groups = _group(*_keys_and_bytes(annotations.records), int(shard_mb * 1e6))
    out.mkdir(parents=True, exist_ok=True)
    return _Plan(annotations, out, groups, pixels, choices)


def _write(plan: _Plan) -> ShardIndex:
    out, annotations, findings = plan.out, plan.annotations, plan.choices.get("findings", Findings())
    resume_or_begin(out, plan_digest(annotations, plan.groups, plan.pixels))
    written = plan.write(range(len(plan.groups)))
    faults = [fault for _, found in written for fault in found]
    for found, _ in written:
        findings.merge(found)
    dropped = dict(annotations.dropped)
    if faults:
        if not plan.drops or len(faults) == len(annotations.records):
            clear(out)
            raise _unusable(faults, annotations)
        dropped["corrupt images"] = len(faults)
    sizes = [len(group) - len(found) for group, (_, found) in zip(plan.groups, written, strict=True)]
    scans = [plan.path(number).with_suffix(".columns") for number, size in enumerate(sizes) if size]
    write_index(out, scans, dataclasses.replace(annotations, dropped=dropped, records=[]))
    for number, size in enumerate(sizes):
        if not size:  # every image was left out
            plan.path(number).unlink()
    for path in [*out.glob("shard-*.findings"), *out.glob("shard-*.columns")]:
        path.unlink()
    (out / "unfinished.json").unlink()
    return ShardIndex.load(out)


def _unusable(faults: list[str], annotations: Annotations) -> ValueError:
    return ValueError(
        f"{len(faults)} of {counted(len(annotations.records), 'image')} cannot be used:{listed(faults)}\n"
        "repair them, or leave them out with --drop-corrupt"
    )


def _keys_and_bytes(records: Sequence[Record]) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
    """[N] keys, each unique and allowed in a tar, and [N] sizes of the image files."""
    keys, sizes = [], np.empty(len(records), np.int64)
    for row, record in enumerate(records):
        if not re.fullmatch(r"[!-~]{1,95}", record.key) or any(letter in "./\\" for letter in record.key):
            raise ValueError(
                f"{record.image}: expected a name of up to 95 ASCII letters without dots, slashes or spaces, found "
                f"{record.key!r}; rename the image"
            )
        keys.append(record.key.encode())
        sizes[row] = record.image.stat().st_size
    ordered, found = np.array(keys, "S"), np.argsort(np.array(keys, "S"), kind="stable")
    twice = np.flatnonzero(ordered[found[1:]] == ordered[found[:-1]])
    if len(twice):
        first, second = (records[int(found[place])] for place in (twice[0], twice[0] + 1))
        raise ValueError(f"{second.image} and {first.image} would both become sample {second.key!r}")
    return ordered, sizes


def _group(keys: NDArray[np.bytes_], sizes: NDArray[np.int64], target_bytes: int) -> list[NDArray[np.int64]]:
    """Rows of each shard: sorted by key, shuffled once (alike for the same number), cut where a shard is full."""
    order = np.argsort(keys, kind="stable")[np.argsort(random_bits(len(keys), Purpose.WRITING, 0), kind="stable")]
    cuts, filled = [0], 0
    for place, size in enumerate(sizes[order].tolist()):
        if place > cuts[-1] and filled + size > target_bytes:
            cuts.append(place)
            filled = 0
        filled += size
    return np.split(order, cuts[1:])
