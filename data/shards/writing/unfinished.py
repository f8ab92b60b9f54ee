"""A set that is being written: what an interrupted run leaves, and what the same command reuses of it."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.files import write_whole
from data.records import Annotations, SomeRecords
from data.shards.format.header import VERSION

PARTS = ("shard-*.part", "index.*.part", "unfinished.json.*.part")  # files that were being written


def plan_digest(annotations: Annotations, groups: Sequence[NDArray[np.int64]], pixels: Sequence[object]) -> str:
    """Digest of all that decides the bytes of the shards. A touched image file counts as a new one."""
    digest = hashlib.sha256(json.dumps([VERSION, annotations.classes, *pixels]).encode())
    for group in groups:
        digest.update(b"shard")
        for record in SomeRecords(annotations.records, group):
            status = record.image.stat()
            image = [str(record.image), status.st_size, status.st_mtime_ns, record.width, record.height]
            digest.update(json.dumps([record.key, record.image_id, *image, len(record.labels)]).encode())
            for name in ("boxes_xyxy_px", "areas_px", "labels", "difficult", "crowd"):
                digest.update(getattr(record, name).tobytes())
    return digest.hexdigest()


def resume_or_begin(out: Path, plan: str) -> None:
    """Keeps what an interrupted run of the same plan finished, and removes everything else it left."""
    same = _is_of(out, plan)
    if not same:
        _refuse_foreign(out)
        clear(out)
        write_whole(out / "unfinished.json", _note(plan))
    _remove(out, PARTS)


def join(out: Path, plan: str) -> None:
    """Like `resume_or_begin`, for one of several simultaneous runs: removes nothing that may be another's."""
    if _is_of(out, plan):
        return
    _refuse_foreign(out)
    if (out / "unfinished.json").exists() and not _is_of(out, plan):
        raise ValueError(
            f"{out}: expected parts of one set, found an unfinished one of other images or options; give all parts the "
            "same ones, or remove the folder"
        )
    write_whole(out / "unfinished.json", _note(plan))


def _is_of(out: Path, plan: str) -> bool:
    """Whether an unfinished run of this plan is there. ValueError: the set is finished."""
    started = out / "unfinished.json"
    same = started.exists() and started.read_bytes() == _note(plan)
    if (out / "index.json").exists() and not same:  # the same plan: interrupted between its last two steps
        raise ValueError(f"{out} already holds a finished set of shards; remove it or choose another folder")
    return same


def _refuse_foreign(out: Path) -> None:
    foreign = sorted(path.name for path in out.glob("*.tar"))
    if foreign and not (out / "unfinished.json").exists():
        raise ValueError(
            f"{out}: expected an empty folder, found {foreign[0]}, which no unfinished run of this command left; "
            "choose another folder, or make the index of these tars: python -m data.shards index"
        )


def _note(plan: str) -> bytes:
    return json.dumps({"plan": plan}).encode()


@contextmanager
def without_parts(out: Path) -> Iterator[None]:
    """Leaves only complete files behind, however the run ends."""
    try:
        yield
    finally:
        _remove(out, PARTS)


def clear(out: Path) -> None:
    _remove(
        out,
        ("index.json", "shard-*.tar", "shard-*.findings", "shard-*.columns", *PARTS, "index.npz", "unfinished.json"),
    )


def _remove(out: Path, patterns: Sequence[str]) -> None:
    for pattern in patterns:
        for path in out.glob(pattern):
            path.unlink()
