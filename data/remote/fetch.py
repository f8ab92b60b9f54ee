"""One file from elsewhere into a local folder. Under its final name it is whole and right.

    http(s)://HOST/SET    s3://BUCKET/SET    pipe:COMMAND {}    (for {} comes the name of the file)

Bytes are appended to NAME.part, which the next attempt goes on with, in this process or a later one. What has come is
synced, its SHA-256 taken from the disk, and only then is it renamed. A connection that breaks is taken up again after
growing pauses; wrong bytes are thrown away and asked for once more.
"""

import hashlib
import http.client
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

TIMEOUT_S = 60  # without a byte
PAUSES_S = (1, 3, 9, 27, 81)  # before the attempts after the first; again from the start once a chunk has come
CHUNK = 1 << 20


class Interrupted(Exception):
    """Worth another attempt, which goes on where this one ended."""


class Wrong(Exception):
    """Other bytes than expected."""


class Refused(Exception):
    """Another attempt would get the same answer."""


class Body(NamedTuple):
    start: int  #: where in the file the bytes begin: 0 from a server that does not skip
    size: int | None  #: of the whole file, where the server says so
    read: Callable[[], bytes]  #: the next bytes, b"" at the end
    close: Callable[[], None]


def is_remote(address: str) -> bool:
    return address.startswith("pipe:") or "://" in address


def check_address(address: str) -> None:
    scheme, parts = address.partition(":")[0], urlsplit(address)
    if scheme not in ("http", "https", "s3", "pipe"):
        raise ValueError(
            f"{address}: expected a folder, http(s)://HOST/SET, s3://BUCKET/SET or pipe:COMMAND {{}}; a command "
            "reaches any other storage, such as `pipe:gsutil cat gs://BUCKET/SET/{}`"
        )
    if scheme == "pipe" and "{}" not in address:
        raise ValueError(f"{address}: expected {{}} in the command, where the name of the file goes")
    if scheme != "pipe" and (not parts.netloc or "@" in parts.netloc):
        raise ValueError(
            f"{scheme}:// address: expected the name of a {'bucket' if scheme == 's3' else 'host'} after the slashes, "
            "without user and password; a command can send them: `pipe:curl -sf --netrc https://HOST/SET/{}`"
        )


def location(address: str, name: str) -> str:
    """Where the file is. A query (a signature, a token) stays behind it."""
    if address.startswith("pipe:"):
        return address.replace("{}", name)
    parts = urlsplit(address)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{quote(name)}"))


def fetch(
    address: str,
    name: str,
    path: Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    stop: Event | None = None,
) -> bool:
    """Brings the file; False: `stop` was set before it was there. ValueError: it cannot be had."""
    stop = stop or Event()
    url = location(address, name)
    where = url if url.startswith("pipe:") else url.partition("?")[0]
    part = path.with_name(path.name + ".part")
    pauses, wrong = list(PAUSES_S), False
    while True:
        before = _size(part)
        try:
            if not _append(url, part, size, stop):
                return False
            found = _synced_digest(part)
            if sha256 is not None and found != sha256:
                raise Wrong(f"expected bytes of SHA-256 {sha256[:16]}..., found {found[:16]}...")
            break
        except Interrupted as error:
            pauses = list(PAUSES_S) if _size(part) - before >= CHUNK else pauses
            if not pauses:
                raise ValueError(
                    f"{where}: {error}, after {1 + len(PAUSES_S)} attempts; {_size(part):,} bytes have come and are "
                    "kept: start the run again when it can be reached"
                ) from None
            print(f"{where}: {error}; again in {pauses[0]} s", file=sys.stderr)
            if stop.wait(pauses.pop(0)):
                return False
        except Wrong as error:
            part.unlink(missing_ok=True)
            if wrong:
                raise ValueError(
                    f"{where}: {error}, twice; the file there is not the one that the index describes: copy the whole "
                    "set there again"
                ) from None
            wrong = True
        except Refused as error:
            raise ValueError(f"{where}: {error}; correct the address or put the whole set there") from None
    part.replace(path)
    _sync_folder(path.parent)
    return True


def _append(url: str, part: Path, size: int | None, stop: Event) -> bool:
    """Brings what is missing of the file."""
    with part.open("ab") as file:
        there = file.tell()
        if size is not None and there >= size:
            return True  # the digest says of what worth
        with closing(_open(url, there)) as body:
            if body.start == 0:
                file.truncate(0)
            elif body.start != there:
                raise Wrong(f"expected the bytes from {there:,} on, found those from {body.start:,} on")
            expected = size if size is not None else body.size
            if body.size is not None and body.size != expected:
                raise Wrong(f"expected {expected:,} bytes, the server has {body.size:,}")
            written = body.start
            while data := body.read():
                if stop.is_set():
                    return False
                file.write(data)
                file.flush()  # who waits for the file sees that it grows
                written += len(data)
                if expected is not None and written > expected:
                    raise Wrong(f"expected {expected:,} bytes, found more")
    if expected is not None and written < expected:
        raise Interrupted(f"expected {expected:,} bytes, the connection ended after {written:,}")
    return True


def _open(url: str, start: int) -> Body:
    if url.startswith("pipe:"):
        return _pipe(url.removeprefix("pipe:"))
    return _s3(url, start) if url.startswith("s3:") else _http(url, start)


def _http(url: str, start: int) -> Body:
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        raise _answer(error.code, error.reason) from None
    except http.client.InvalidURL as error:
        raise Refused(str(error)) from None
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(str(error) or type(error).__name__) from None

    def read() -> bytes:
        try:
            return bytes(response.read1(CHUNK))
        except (OSError, http.client.HTTPException) as error:
            raise Interrupted(str(error) or type(error).__name__) from None

    return Body(*_extent(response.headers, start), read, response.close)


def _s3(url: str, start: int) -> Body:
    client = _s3_client()
    from botocore import exceptions as botocore

    parts = urlsplit(url)
    skip = {"Range": f"bytes={start}-"} if start else {}
    lasting = (botocore.NoCredentialsError, botocore.PartialCredentialsError, botocore.ParamValidationError)
    try:
        found = client.get_object(Bucket=parts.netloc, Key=parts.path.lstrip("/"), **skip)
    except botocore.ClientError as error:
        raise _answer(error.response["ResponseMetadata"]["HTTPStatusCode"], str(error)) from None
    except lasting as error:
        raise Refused(f"{error} (they are found as the AWS tools find them)") from None
    except botocore.BotoCoreError as error:
        raise Interrupted(str(error)) from None
    stream = found["Body"]

    def read() -> bytes:
        try:
            return bytes(stream.read(CHUNK))
        except (OSError, botocore.BotoCoreError) as error:
            raise Interrupted(str(error)) from None

    return Body(*_extent(found["ResponseMetadata"]["HTTPHeaders"], start), read, stream.close)


@cache
def _s3_client() -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        raise ValueError("s3:// needs another package: pip install boto3") from None
    return boto3.Session().client("s3", config=Config(connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S))


def _answer(status: int, reason: str) -> Exception:
    text = f"the server answers {status} {reason}"
    if status == 416:
        return Wrong(f"{text}: the file there is shorter than expected")
    return Interrupted(text) if status in (408, 425, 429) or status >= 500 else Refused(text)


def _extent(headers: Mapping[str, str], asked: int) -> tuple[int, int | None]:
    """Where the bytes of an answer begin, and the size of the whole file."""
    headers = {name.lower(): value for name, value in headers.items()}
    if "content-range" in headers:
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers["content-range"].strip())
        if not found:
            raise Wrong(f"expected the range of bytes from {asked:,} on, found {headers['content-range']!r}")
        return int(found[1]), None if found[2] == "*" else int(found[2])
    length = headers.get("content-length", "")
    return 0, int(length) if length.isdecimal() else None


def _pipe(command: str) -> Body:
    errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
    process = subprocess.Popen(
        command, shell=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
    )
    assert process.stdout is not None
    descriptor = process.stdout.fileno()
    silence = select.poll()
    silence.register(descriptor, select.POLLIN | select.POLLHUP)

    def read() -> bytes:
        if not silence.poll(TIMEOUT_S * 1000):
            raise Interrupted(f"the command gave no byte for {TIMEOUT_S} s")
        data = os.read(descriptor, CHUNK)
        if not data and process.wait():
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
            raise Interrupted(f"the command ended with exit code {process.returncode} {' '.join(last)}".strip())
        return data

    def close() -> None:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        with process:
            errors.close()

    return Body(0, None, read, close)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _synced_digest(path: Path) -> str:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
