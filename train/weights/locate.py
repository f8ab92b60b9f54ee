"""Locates weights: a run folder, a file, or an address whose file is downloaded once into this machine's cache.

runs/voc    runs/voc/checkpoints/best-...pt    yolov2.weights    https://HOST/net.safetensors#sha256=3F9A...
"""

import hashlib
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import url2pathname

import torch

from data.files import private_folder, sha256
from data.remote.addresses import check_address, is_remote
from data.remote.fetch import fetch
from data.remote.lock import FolderLock
from train.run.checkpoint_files import best
from train.weights.saved import read_checkpoint

DIGEST = "#sha256="
POLL_S = 0.2


def local_file(source: str, cache: Path | None = None) -> Path:
    """The file on this machine. ValueError: it is missing, cannot be downloaded, or has another digest than requested.

    cache: a folder, for downloads in it; default: torch.hub's. A second process that needs the same address waits.
    """
    where, _, digest = source.partition(DIGEST)
    digest = digest.lower()
    if digest and (len(digest) != 64 or not set(digest) <= set("0123456789abcdef")):
        raise ValueError(
            f"weights={without_query(source)}: expected 64 hexadecimal digits after {DIGEST}, found {digest!r}"
        )
    if is_remote(where) and urlsplit(where).scheme != "file":
        return _cached(where, digest, cache / "weights" if cache else Path(torch.hub.get_dir()) / "checkpoints")
    path = Path(url2pathname(urlsplit(where).path)) if where.startswith("file://") else Path(where)
    if path.is_dir():
        found = best(path / "checkpoints", read_checkpoint)
        if found is None:
            raise ValueError(f"weights={where}: expected a run folder with a checkpoint or a file, found neither")
        path = found
    if not path.is_file():
        raise ValueError(f"weights={where}: no such file; expected a file, a run folder or an address")
    if digest and sha256(path) != digest:
        raise ValueError(f"{path}: expected bytes of SHA-256 {digest}, found {sha256(path)}")
    return path


def without_query(source: str) -> str:
    """The source without the query of an address, which may hold a signature or a token."""
    return source.partition("?")[0] if is_remote(source) else source


def _cached(address: str, digest: str, cache: Path) -> Path:
    if address.startswith("pipe:"):
        raise ValueError("weights=pipe:...: expected http(s)://, s3:// or file://; run the command yourself first")
    check_address(address)
    parts = urlsplit(address)
    folder, _, name = parts.path.rpartition("/")
    if not name:
        raise ValueError(f"weights={without_query(address)}: expected the address of a file, found that of a folder")
    key = digest or hashlib.sha256(without_query(address).encode()).hexdigest()
    path = cache / f"{key[:16]}-{unquote(name)}"
    private_folder(cache)  # what another user put there need not be what the address holds
    lock = FolderLock(cache)
    while not lock.acquire():
        time.sleep(POLL_S)
    try:
        if not path.is_file():
            fetch(urlunsplit(parts._replace(path=folder)), unquote(name), path)
        if digest and (found := sha256(path)) != digest:
            path.unlink()
            raise ValueError(
                f"{without_query(address)}: expected bytes of SHA-256 {digest}, found {found}; correct {DIGEST} or the "
                "address"
            )
    finally:
        lock.release()
    return path
