"""A set that is being written: what an interrupted run leaves, and what of it the same command takes up again."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from data.files import write_whole
from data.records import Annotations, Record
from data.shards.header import VERSION
from data.shards.sidecar import sidecar_of

PARTS = ("shard-*.part", "index.*.part", "unfinished.json.*.part")  # files that were being written


def plan_digest(annotations: Annotations, groups: Sequence[Sequence[Record]], pixels: Sequence[object]) -> str:
    """Digest of all that decides the bytes of the shards. An image file that was touched counts as a new one."""
    digest = hashlib.sha256(json.dumps([VERSION, annotations.classes, *pixels]).encode())
    for group in groups:
        digest.update(b"shard")
        for record in group:
            status = record.image.stat()
            text = [record.key, str(record.image), status.st_size, status.st_mtime_ns]
            digest.update(json.dumps(text).encode() + sidecar_of(record, annotations.classes).text())
    return digest.hexdigest()


def take_up(out: Path, plan: str) -> None:
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
        clear(out)
        write_whole(started, text)
    _remove(out, PARTS)


@contextmanager
def without_parts(out: Path) -> Iterator[None]:
    """Whatever ends the run, whole files are what is left of it."""
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
