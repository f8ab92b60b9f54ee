"""Downloads one file into a local folder. Under its final name it is complete and correct.

Bytes are appended to NAME.part, which the next attempt continues, in this process or a later one. The file is synced,
its SHA-256 computed from the disk, and only then is it renamed. A broken connection is resumed after growing pauses;
wrong bytes are discarded and requested once more. A server that is silent, or slow enough to count as silent, is given
up after 8 minutes.
"""

import os
import sys
import time
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import BinaryIO

from data.files import length, sync_folder
from data.files import sha256 as sha256_of
from data.remote.addresses import COMMAND, is_command, location
from data.remote.transports import body as bodies
from data.remote.transports.body import CHUNK, LEAST_BYTES, Body, Interrupted, Refused, WrongBytes
from data.remote.transports.command import open_command
from data.remote.transports.http import open_http
from data.remote.transports.s3 import open_s3
from launch.redact import redacted

PAUSES_S = (1, 3, 9, 27, 81)  # before each further attempt; starts over once a chunk has come
MOST_BYTES = 1 << 40  # of a file of unknown size


def fetch(
    address: str,
    name: str,
    path: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    most_bytes: int = MOST_BYTES,
    stop: Event | None = None,
) -> bool:
    """Downloads the file; False if `stop` was set first. ValueError: it is not available."""
    stop = stop or Event()
    url = location(address, name)
    where, part = redacted(url), path.with_name(path.name + ".part")
    pauses, wrong = list(PAUSES_S), False
    while True:
        before = length(part) or 0
        try:
            if not _append(url, part, size, most_bytes, stop):
                return False
            _require_digest(part, sha256)
            break
        except Interrupted as error:
            pauses = list(PAUSES_S) if (length(part) or 0) - before >= CHUNK else pauses
            if not pauses:
                raise _given_up(where, error, part) from None
            print(f"{where}: {error}; trying again in {pauses[0]} s", file=sys.stderr)
            if stop.wait(pauses.pop(0)):
                return False
        except WrongBytes as error:
            part.unlink(missing_ok=True)
            if wrong:
                raise _another_file(where, error) from None
            wrong = True
        except Refused as error:
            raise ValueError(f"{where}: {error}; correct the address or put the whole set there") from None
    part.replace(path)
    sync_folder(path.parent)
    return True


def open_body(url: str, start: int) -> Body:
    """The bytes from `start` on, or all bytes if the other side prefers."""
    if is_command(url):
        return open_command(url.removeprefix(COMMAND))
    return open_s3(url, start) if url.startswith("s3:") else open_http(url, start)


def _given_up(where: str, error: Interrupted, part: Path) -> ValueError:
    return ValueError(
        f"{where}: {error}, after {1 + len(PAUSES_S)} attempts; {length(part) or 0:,} bytes have come and are kept: "
        "start the run again when the server can be reached"
    )


def _another_file(where: str, error: WrongBytes) -> ValueError:
    return ValueError(
        f"{where}: {error}, twice; the file there is not the one that the index describes: copy the whole set there "
        "again"
    )


def _append(url: str, part: Path, size: int | None, most_bytes: int, stop: Event) -> bool:
    """Downloads the missing part of the file; False if `stop` was set."""
    with part.open("ab") as file:
        there = file.tell()
        if size is not None and there >= size:
            return True  # the digest says whether it is right
        with closing(open_body(url, there)) as body:
            if body.start == 0:
                file.truncate(0)
            elif body.start != there:
                raise WrongBytes(f"expected bytes from {there:,} on, found bytes from {body.start:,} on")
            expected = size if size is not None else body.size
            if body.size is not None and body.size != expected:
                raise WrongBytes(f"expected {expected:,} bytes, the server has {body.size:,}")
            most = most_bytes if expected is None else expected
            if most > most_bytes:
                raise WrongBytes(f"expected at most {most_bytes:,} bytes, the server has {most:,}")
            written = _copy(body, file, most, stop)
    if written is None:
        return False
    if expected is not None and written < expected:
        raise Interrupted(f"expected {expected:,} bytes, the connection ended after {written:,}")
    return True


def _copy(body: Body, file: BinaryIO, most: int, stop: Event) -> int | None:
    """The file's new size in bytes; None if `stop` was set meanwhile."""
    written = body.start
    began, since = time.monotonic(), written
    while data := body.read():
        if stop.is_set():
            return None
        file.write(data)
        file.flush()  # so that those who wait see the file grow
        written += len(data)
        if written > most:
            raise WrongBytes(f"expected {most:,} bytes, found more")
        if (passed := time.monotonic() - began) > bodies.TIMEOUT_S:
            if written - since < LEAST_BYTES:
                raise Interrupted(f"{written - since:,} bytes in {passed:.0f} s")
            began, since = time.monotonic(), written
    return written


def _require_digest(part: Path, sha256: str | None) -> None:
    with part.open("rb") as file:
        os.fsync(file.fileno())
    if sha256 is not None and (found := sha256_of(part)) != sha256:
        raise WrongBytes(f"expected bytes of SHA-256 {sha256[:16]}..., found {found[:16]}...")
