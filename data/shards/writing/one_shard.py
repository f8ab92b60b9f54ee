"""Records -> one tar, with notes for the index beside it. The same records give the same bytes."""

import io
import json
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from data.files import replacing, write_whole
from data.images.files.decode import MAX_IMAGE_BYTES
from data.images.files.prepare import Prepared, prepare
from data.records import Findings, Record
from data.shards.format.sidecar import sidecar_of
from data.shards.format.tar import entries
from data.shards.writing.scan import write_scan


class Pixels(NamedTuple):
    """Changes to images on their way into a shard; see `prepare`."""

    exif: Literal["turn", "keep"] = "turn"
    max_side: int | None = None


def is_written(path: Path) -> bool:
    """Whether an earlier run of the same plan wrote it: complete files are renamed into place, the findings last."""
    return all(path.with_suffix(suffix).exists() for suffix in (".tar", ".columns", ".findings"))


def write_shard(
    path: Path, records: Sequence[Record], classes: tuple[str, ...], pixels: Pixels
) -> tuple[Findings, list[str]]:
    """Writes one tar, unless it is there. Returns its findings, and one sentence for each image left out."""
    notes = path.with_suffix(".findings")
    if is_written(path):
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
    write_scan(path, path.with_suffix(".columns"))
    write_whole(notes, json.dumps([findings.found, faults]))
    return findings, faults


def _prepared(record: Record, pixels: Pixels) -> Prepared | str:
    """The prepared image, or the reason why it cannot be used."""
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
