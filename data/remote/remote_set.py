"""Remote sets of shards, used like local ones: an index at once, the shards through staging.

Each set has its own folder inside the staging folder, named by the digest of its index.json: its content can only
belong to this set, and once all has come it is a folder of shards like any other.
"""

import hashlib
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from data.files import private_folder, sha256, write_whole
from data.remote.addresses import check_address
from data.remote.arrivals import POLL_S
from data.remote.fetch import fetch
from data.remote.lock import FolderLock
from data.shards.format.header import parse_header
from data.shards.index import ShardIndex
from data.shards.verified import verified_once
from launch.command import reason_of
from launch.redact import redacted

MOST_OF_INDEX = 64 << 20  # bytes of index.json: a line for each shard
MOST_OF_ARRAYS, MOST_OF_SAMPLE = 64 << 20, 1 << 14  # bytes of index.npz, plus bytes for each sample: about 300 objects


def open_remote(address: str, staging: str | None) -> ShardIndex:
    """Opens the index of the set in its folder. A `Staging` downloads its shards."""
    check_address(address)
    if staging is None:
        raise ValueError(
            f"{redacted(address)}: expected data.staging with it, a folder on a disk of this machine for its shards"
        )
    with tempfile.TemporaryDirectory() as fresh:
        fetch(address, "index.json", Path(fresh) / "index.json", most_bytes=MOST_OF_INDEX)
        text = (Path(fresh) / "index.json").read_bytes()
    try:
        header = parse_header(text, Path("index.json"))
    except ValueError as error:
        raise ValueError(f"{redacted(address)}: {error}") from None
    for shard in header["shards"]:
        if not re.fullmatch(r"\w[\w.+-]*\.tar", shard["name"], re.ASCII):  # becomes part of a path and of a command
            raise ValueError(
                f"{redacted(address)}: expected shards named by letters, digits and _ . + -, found {shard['name']!r}; "
                "rename them and make their index again: python -m data.shards index FOLDER"
            )
    folder = _folder(address, staging, hashlib.sha256(text).hexdigest())
    _download_index(address, folder, text, header)
    return ShardIndex.load(folder, shards_there=False)


def _download_index(address: str, folder: Path, text: bytes, header: dict[str, Any]) -> None:
    """Fetches the index in one process of the machine; the others wait for it."""
    lock, digest = FolderLock(folder), header["arrays_sha256"]
    most_bytes = MOST_OF_ARRAYS + sum(shard["samples"] for shard in header["shards"]) * MOST_OF_SAMPLE
    while not _has_index(folder, text, digest):
        if not lock.acquire():
            time.sleep(POLL_S)
            continue
        try:
            fetch(address, "index.npz", folder / "index.npz", sha256=digest, most_bytes=most_bytes)
            write_whole(folder / "index.json", text)
        finally:
            lock.release()


def _folder(address: str, staging: str, digest: str) -> Path:
    name = re.sub(r"[^A-Za-z0-9]+", "-", redacted(address))[-48:].strip("-")
    folder = Path(staging) / f"{name}-{digest[:16]}"
    try:
        private_folder(folder)
    except OSError as error:
        raise ValueError(f"data.staging={staging}: {reason_of(error)}") from None
    for other in folder.parent.glob(f"{name}-{'[0-9a-f]' * 16}"):
        if other != folder:
            held = f"{redacted(address)} holds another set than before; the old one can be removed: {other}"
            print(held, file=sys.stderr)
    return folder


def _has_index(folder: Path, text: bytes, arrays_sha256: str) -> bool:
    header, arrays = folder / "index.json", folder / "index.npz"
    if not header.exists() or not arrays.exists() or header.read_bytes() != text:
        return False

    def verify() -> None:
        if sha256(arrays) != arrays_sha256:
            raise ValueError

    try:
        verified_once(arrays, arrays_sha256, verify)
    except ValueError:
        return False
    return True
