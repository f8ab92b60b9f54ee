"""Records -> WebDataset shards with an index; and back: verify.

    python -m data.shards voc ROOT --split 2007:trainval,2012:trainval OUT
    python -m data.shards verify OUT

OUT holds `shard-000000.tar` ... (KEY.jpg + KEY.json, plain tar), `index.npz` (flat arrays: where every sample lies and
what is on it) and `index.json` (what the set is, a digest of every other file). index.json is written last: a folder
that has one is complete. The same input gives the same bytes, whatever the number of processes. docs/data.md has the
format in full.
"""

import argparse
import dataclasses
import hashlib
import io
import json
import os
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress

from data.decode import decode
from data.order import random_bits
from data.sample import Annotations, Record
from data.voc import read_voc

FORMAT = "yolov2-shards"
VERSION = 1
Result = TypeVar("Result")


class Entry(NamedTuple):
    """One sample as it lies in a tar: byte ranges of its image and its annotation."""

    key: str
    image_offset: int
    image_bytes: int
    json_offset: int
    json_bytes: int


@dataclasses.dataclass(frozen=True, eq=False)
class ShardIndex:
    """A finished set of shards. N samples (in shard order), M objects."""

    folder: Path
    source: str
    classes: tuple[str, ...]
    category_ids: tuple[int, ...]
    shard_names: tuple[str, ...]
    shard_sizes: NDArray[np.int64]  #: samples in each shard
    arrays: dict[str, NDArray[Any]]  #: the columns of index.npz, see docs/data.md
    digest: str  #: of index.json: names the exact bytes of the whole set

    @cached_property
    def num_samples(self) -> int:
        return int(self.shard_sizes.sum())

    def key(self, sample: int) -> str:
        return str(self.arrays["keys"][sample].decode())

    def size_px(self, sample: int) -> tuple[int, int]:
        """Width, height."""
        return int(self.arrays["widths"][sample]), int(self.arrays["heights"][sample])

    def objects(self, sample: int) -> slice:
        """Where the objects of a sample stand in `boxes_xyxy_px`, `labels`, `difficult`, `crowd`."""
        starts = self.arrays["object_starts"]
        return slice(int(starts[sample]), int(starts[sample + 1]))

    @classmethod
    def load(cls, folder: Path) -> "ShardIndex":
        """Reads the index and checks that every shard is there at its full length (digests: `verify`)."""
        try:
            text = (folder / "index.json").read_bytes()
        except FileNotFoundError:
            raise ValueError(
                f"no shards at {folder}: expected {folder / 'index.json'}, which a finished run of "
                "`python -m data.shards voc ROOT --split ... OUT` leaves there"
            ) from None
        header = _parse_header(text, folder / "index.json")
        arrays_path = folder / "index.npz"
        if not arrays_path.exists() or _sha256(arrays_path) != header["arrays_sha256"]:
            raise ValueError(f"{arrays_path} is missing or does not match index.json beside it; make the shards again")
        for shard in header["shards"]:
            path = folder / shard["name"]
            found = path.stat().st_size if path.exists() else None
            if found != shard["bytes"]:
                raise ValueError(
                    f"{path}: the index says {shard['bytes']} bytes, "
                    f"{'the file is missing' if found is None else f'found {found}'}; "
                    "copy the shard again or make the shards again"
                )
        with np.load(arrays_path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        return cls(
            folder=folder,
            source=header["source"],
            classes=tuple(header["classes"]),
            category_ids=tuple(header["category_ids"]),
            shard_names=tuple(shard["name"] for shard in header["shards"]),
            shard_sizes=np.array([shard["samples"] for shard in header["shards"]], np.int64),
            arrays=arrays,
            digest=hashlib.sha256(text).hexdigest(),
        )


def _parse_header(text: bytes, path: Path) -> dict[str, Any]:
    try:
        header = json.loads(text)
        found = f"{header['format']} version {header['version']}"
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"{path} is not an index of shards; make the shards again") from None
    if found != f"{FORMAT} version {VERSION}":
        raise ValueError(
            f"{path} is of {found}, this program reads {FORMAT} version {VERSION}; make the shards again with it"
        )
    assert isinstance(header, dict)
    return header


# ---------------------------------------------------------------------------------------------------------- writing


def write_shards(
    annotations: Annotations,
    out: Path,
    *,
    shard_mb: float = 128,
    workers: int = 0,
    drop_corrupt: bool = False,
) -> ShardIndex:
    """Writes the set into `out`. Every image is decoded once on the way and its size compared with the annotation."""
    if (out / "index.json").exists():
        raise ValueError(f"{out} already holds a finished set of shards; remove it or choose another folder")
    if not annotations.records:
        raise ValueError(f"{annotations.source}: no images to write")
    out.mkdir(parents=True, exist_ok=True)
    groups = _group(annotations.records, int(shard_mb * 1e6))
    jobs = [(out, number, group, annotations.classes) for number, group in enumerate(groups)]
    left_out = list(_in_parallel(_write_shard, jobs, workers, "writing shards"))
    faults = [fault for found in left_out for fault in found]
    dropped = dict(annotations.dropped)
    if faults:
        if not drop_corrupt or len(faults) == len(annotations.records):
            for path in out.glob("shard-*.tar"):
                path.unlink()
            listing = "\n  ".join([*faults[:10], *(["..."] if len(faults) > 10 else [])])
            raise ValueError(
                f"{len(faults)} of {len(annotations.records)} images cannot be used:\n  {listing}\n"
                "repair them, or leave them out with --drop-corrupt"
            )
        dropped["corrupt images"] = len(faults)
    names: list[str] = []
    for number, (group, found) in enumerate(zip(groups, left_out, strict=True)):
        path = out / _shard_name(number)
        if len(found) == len(group):  # nothing is left in it
            path.unlink()
            continue
        path.replace(out / _shard_name(len(names)))
        names.append(_shard_name(len(names)))
    _write_index(out, annotations, dropped, names, workers)
    return ShardIndex.load(out)


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


def _write_shard(out: Path, number: int, records: list[Record], classes: tuple[str, ...]) -> list[str]:
    """Writes one tar under a temporary name, syncs and renames it. Returns one sentence for each image left out."""
    faults = []
    path = out / _shard_name(number)
    part = path.with_suffix(".part")
    with part.open("wb") as file:
        with tarfile.open(fileobj=file, mode="w|", format=tarfile.USTAR_FORMAT) as tar:
            for record in records:
                data = record.image.read_bytes()
                fault = _fault(record, data)
                if fault:
                    faults.append(f"{record.image}: {fault}")
                    continue
                _add(tar, record.key + record.image.suffix.lower().replace(".jpeg", ".jpg"), data)
                _add(tar, record.key + ".json", json.dumps(_annotation(record, classes)).encode())
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return faults


def _fault(record: Record, data: bytes) -> str | None:
    try:
        height, width = decode(data).shape[:2]
    except ValueError as error:
        return f"does not decode: {error}"
    if (width, height) != (record.width, record.height):
        return f"is {width}x{height} px, its annotation says {record.width}x{record.height}"
    return None


def _annotation(record: Record, classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "width": record.width,
        "height": record.height,
        "boxes_xyxy_px": record.boxes_xyxy_px.tolist(),
        "labels": [classes[label] for label in record.labels],
        "difficult": record.difficult.tolist(),
        "crowd": record.crowd.tolist(),
    }


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # owner, mode and time are constants: the same input gives the same bytes
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def _write_index(out: Path, annotations: Annotations, dropped: dict[str, int], names: list[str], workers: int) -> None:
    scanned = dict(
        _in_parallel(_scan_shard, [(out / name, annotations.classes) for name in names], workers, "indexing")
    )
    shards = [{"name": name, **scanned[name][0]} for name in names]
    columns = [scanned[name][1] for name in names]
    arrays = {column: np.concatenate([part[column] for part in columns]) for column in columns[0]}
    counts = arrays.pop("object_counts")
    arrays["object_starts"] = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    arrays["shards"] = np.repeat(np.arange(len(names), dtype=np.int32), [shard["samples"] for shard in shards])
    packed = io.BytesIO()
    np.savez(packed, allow_pickle=False, **dict(sorted(arrays.items())))
    _write_file(out / "index.npz", packed.getvalue())
    header = {
        "format": FORMAT,
        "version": VERSION,
        "source": annotations.source,
        "classes": annotations.classes,
        "category_ids": annotations.category_ids,
        "images": len(counts),
        "objects": int(counts.sum()),
        "difficult": int(arrays["difficult"].sum()),
        "dropped": dropped,
        "arrays_sha256": hashlib.sha256(packed.getvalue()).hexdigest(),
        "shards": shards,
    }
    _write_file(out / "index.json", (json.dumps(header, indent=1) + "\n").encode())


def _write_file(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


# ---------------------------------------------------------------------------------------------------------- reading


def entries(path: Path) -> Iterator[Entry]:
    """What lies where in a tar of KEY.jpg|png + KEY.json pairs, from the tar itself."""
    with path.open("rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
        pending: dict[str, tarfile.TarInfo] = {}
        try:
            for member in tar:
                key, _, extension = member.name.partition(".")
                pending["json" if extension == "json" else "image"] = member
                if len(pending) == 2:
                    image, note = pending["image"], pending["json"]
                    if {image.name.partition(".")[0], note.name.partition(".")[0]} != {key}:
                        raise ValueError(f"{path}: {image.name} and {note.name} follow each other; expected one key")
                    yield Entry(key, image.offset_data, image.size, note.offset_data, note.size)
                    pending = {}
        except tarfile.TarError as error:
            raise ValueError(f"{path} is cut short or not a tar: {error}") from None
        if pending:
            raise ValueError(f"{path} ends in the middle of a sample; copy it again or make the shards again")


def _scan_shard(path: Path, classes: tuple[str, ...]) -> tuple[str, tuple[dict[str, Any], dict[str, NDArray[Any]]]]:
    """The index rows of one shard, read back from its bytes."""
    label_of = {name: label for label, name in enumerate(classes)}
    found = list(entries(path))
    with path.open("rb") as file:
        notes = [json.loads(os.pread(file.fileno(), entry.json_bytes, entry.json_offset)) for entry in found]
    each = [box for note in notes for box in note["boxes_xyxy_px"]]
    columns: dict[str, NDArray[Any]] = {
        "keys": np.array([entry.key for entry in found], dtype="S"),
        "image_offsets": np.array([entry.image_offset for entry in found], np.int64),
        "image_bytes": np.array([entry.image_bytes for entry in found], np.int64),
        "widths": np.array([note["width"] for note in notes], np.int32),
        "heights": np.array([note["height"] for note in notes], np.int32),
        "object_counts": np.array([len(note["labels"]) for note in notes], np.int64),
        "boxes_xyxy_px": np.array(each, np.float32).reshape(-1, 4),
        "labels": np.array([label_of[name] for note in notes for name in note["labels"]], np.int16),
        "difficult": np.array([flag for note in notes for flag in note["difficult"]], bool),
        "crowd": np.array([flag for note in notes for flag in note["crowd"]], bool),
    }
    facts = {"bytes": path.stat().st_size, "sha256": _sha256(path), "samples": len(found)}
    return path.name, (facts, columns)


def verify(folder: Path, workers: int = 0) -> ShardIndex:
    """Reads everything back: digests, tars against the index, every image decoded. ValueError lists all faults."""
    index = ShardIndex.load(folder)
    header = _parse_header((folder / "index.json").read_bytes(), folder / "index.json")
    jobs = [(index, number, header["shards"][number]["sha256"]) for number in range(len(index.shard_names))]
    faults: list[str] = []
    for found in _in_parallel(_verify_shard, jobs, workers, "verifying"):
        faults += found
    if faults:
        raise ValueError(f"{folder}: {len(faults)} faults\n  " + "\n  ".join(sorted(faults)[:20]))
    return index


def _verify_shard(index: ShardIndex, number: int, sha256: str) -> list[str]:
    path = index.folder / index.shard_names[number]
    if _sha256(path) != sha256:
        return [f"{path.name}: its bytes are not those that were written (sha256 differs); copy it again"]
    first = int(index.shard_sizes[:number].sum())
    _, (_, columns) = _scan_shard(path, index.classes)
    rows = slice(first, first + int(index.shard_sizes[number]))
    for name in ("keys", "image_offsets", "image_bytes", "widths", "heights"):
        if not np.array_equal(columns[name], index.arrays[name][rows]):
            return [f"{path.name}: column {name} of index.npz does not describe this tar; make the shards again"]
    objects = slice(index.objects(rows.start).start, index.objects(rows.stop - 1).stop)
    for name in ("boxes_xyxy_px", "labels", "difficult", "crowd"):
        if not np.array_equal(columns[name], index.arrays[name][objects]):
            return [f"{path.name}: column {name} of index.npz does not describe this tar; make the shards again"]
    faults = []
    with ShardReader(index) as reader:
        for sample in range(rows.start, rows.stop):
            try:
                height, width = decode(reader.image(sample)).shape[:2]
                if (width, height) != index.size_px(sample):
                    faults.append(
                        f"{path.name}/{index.key(sample)}: {width}x{height} px, index {index.size_px(sample)}"
                    )
            except ValueError as error:
                faults.append(f"{path.name}/{index.key(sample)}: {error}")
    return faults


class ShardReader:
    """Image bytes by sample number. Opens each shard once; a copy of it in another process opens its own."""

    def __init__(self, index: ShardIndex) -> None:
        self.index = index
        self._files: dict[int, int] = {}

    def image(self, sample: int) -> bytes:
        arrays = self.index.arrays
        shard = int(arrays["shards"][sample])
        if shard not in self._files:
            self._files[shard] = os.open(self.index.folder / self.index.shard_names[shard], os.O_RDONLY)
        expected = int(arrays["image_bytes"][sample])
        data = os.pread(self._files[shard], expected, int(arrays["image_offsets"][sample]))
        if len(data) != expected:
            raise ValueError(f"{self.index.shard_names[shard]} ends after {len(data)} of {expected} bytes of the image")
        return data

    def close(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files = {}

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"index": self.index, "_files": {}}


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _in_parallel(
    function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], workers: int, title: str
) -> Iterable[Result]:
    """The results in the order of the jobs; a progress bar on a terminal."""
    workers = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    results: dict[int, Result] = {}
    with Progress(disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task(title, total=len(jobs))
        if workers <= 1:
            for number, job in enumerate(jobs):
                results[number] = function(*job)
                progress.advance(task)
        else:
            with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
                futures = {pool.submit(function, *job): number for number, job in enumerate(jobs)}
                for future in as_completed(futures):
                    results[futures[future]] = future.result()
                    progress.advance(task)
    return [results[number] for number in range(len(jobs))]


# ------------------------------------------------------------------------------------------------------ command line


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m data.shards", description="make and check shards")
    commands = parser.add_subparsers(dest="command", required=True)
    voc = commands.add_parser("voc", help="Pascal VOC folders -> shards")
    voc.add_argument("root", type=Path, help="VOCdevkit, or one folder with Annotations, ImageSets and JPEGImages")
    voc.add_argument("out", type=Path)
    voc.add_argument(
        "--split", required=True, help="2007:trainval,2012:trainval; without a year ROOT is the year folder"
    )
    voc.add_argument(
        "--classes", help="comma separated, in the order of the network's outputs; default: the names found"
    )
    voc.add_argument("--drop-degenerate", action="store_true", help="leave out boxes without area instead of refusing")
    voc.add_argument("--drop-corrupt", action="store_true", help="leave out unreadable images instead of refusing")
    voc.add_argument("--shard-mb", type=float, default=128, help="size of a shard")
    check = commands.add_parser("verify", help="read everything back")
    check.add_argument("out", type=Path)
    for command in (voc, check):
        command.add_argument("--workers", type=int, default=0, help="processes; default: one for each core")
    options = parser.parse_args(arguments)
    try:
        if options.command == "voc":
            classes = options.classes.split(",") if options.classes else None
            annotations = read_voc(
                options.root, options.split.split(","), classes, drop_degenerate=options.drop_degenerate
            )
            index = write_shards(
                annotations,
                options.out,
                shard_mb=options.shard_mb,
                workers=options.workers,
                drop_corrupt=options.drop_corrupt,
            )
        else:
            index = verify(options.out, options.workers)
    except ValueError as error:
        sys.exit(f"error: {error}")
    print(summary(index))


def summary(index: ShardIndex) -> str:
    labels, difficult = index.arrays["labels"], index.arrays["difficult"]
    counts = np.bincount(labels, minlength=len(index.classes))
    dropped = json.loads((index.folder / "index.json").read_bytes())["dropped"]
    lines = [f"{index.folder}: {index.num_samples} images, {len(labels)} objects ({int(difficult.sum())} difficult)"]
    lines[0] += f" in {len(index.shard_names)} shards, from {index.source}"
    lines += [f"  left out: {number} {reason}" for reason, number in dropped.items() if number]
    lines += [f"  {name:<20} {count:>8}" for name, count in zip(index.classes, counts, strict=True)]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
