"""Sets of shards that lie elsewhere, as local ones: an index at once, the shards through staging.

Each set has a folder of its own inside the staging folder, named by the digest of its index.json: what is in it can
only be of this set, and once all has come it is a folder of shards like any other.
"""

import hashlib
import re
import sys
import tempfile
import time
from pathlib import Path

from data.files import sha256
from data.remote.fetch import check_address, fetch
from data.remote.staging import POLL_S, Turn
from data.shards.header import parse_header
from data.shards.index import ShardIndex


def open_remote(address: str, staging: str | None) -> ShardIndex:
    """The index of the set, in its folder. Its shards come while a `Staging` is entered."""
    check_address(address)
    if staging is None:
        raise ValueError(
            f"{address}: expected data.staging beside it, a folder on a disk of this machine for its shards"
        )
    with tempfile.TemporaryDirectory() as fresh:
        fetch(address, "index.json", Path(fresh) / "index.json")
        text = (Path(fresh) / "index.json").read_bytes()
    try:
        header = parse_header(text, Path("index.json"))
    except ValueError as error:
        raise ValueError(f"{address}: {error}") from None
    for shard in header["shards"]:
        if not re.fullmatch(r"\w[\w.+-]*\.tar", shard["name"], re.ASCII):  # becomes part of a path and of a command
            raise ValueError(
                f"{address}: expected shards named by letters, digits and _ . + -, found {shard['name']!r}; rename "
                "them and make their index again: python -m data.shards index FOLDER"
            )
    digest = hashlib.sha256(text).hexdigest()
    folder = _folder(address, staging, digest)
    turn = Turn(folder)
    while not _has_index(folder, text, header["arrays_sha256"]):
        if not turn.take():
            time.sleep(POLL_S)
            continue
        try:
            fetch(address, "index.npz", folder / "index.npz", sha256=header["arrays_sha256"])
            fetch(address, "index.json", folder / "index.json", sha256=digest, size=len(text))
        finally:
            turn.give_back()
    return ShardIndex.load(folder, shards_there=False)


def _folder(address: str, staging: str, digest: str) -> Path:
    name = re.sub(r"[^A-Za-z0-9]+", "-", address.partition("?")[0])[-48:].strip("-")
    folder = Path(staging) / f"{name}-{digest[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"data.staging={staging}: expected a folder that can be written to ({error})") from None
    for other in folder.parent.glob(f"{name}-{'[0-9a-f]' * 16}"):
        if other != folder:
            print(f"{address} holds another set than before; that one can be removed: {other}", file=sys.stderr)
    return folder


def _has_index(folder: Path, text: bytes, arrays_sha256: str) -> bool:
    header, arrays = folder / "index.json", folder / "index.npz"
    there = header.exists() and arrays.exists()
    return there and header.read_bytes() == text and sha256(arrays) == arrays_sha256
