"""The bytes of one remote file: by http(s), by s3 or from a command. None is trusted."""

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
from functools import cache
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit

from data.remote.addresses import COMMAND, is_command, redacted

TIMEOUT_S = 60  # without a byte
CHUNK = 1 << 20
LENGTH = re.compile(r"[0-9]{1,15}")  # of a file, in bytes
#: runs $1 and kills it, with all that it started, when the process at the other end of its input is gone
WATCHED = (
    "exec 9<&0; (read -r _ <&9; kill -KILL 0) >/dev/null 2>&1 & "
    'sh -c "$1" 9<&- </dev/null; status=$?; kill $! 2>/dev/null; exit $status'
)


class Interrupted(Exception):
    """A failure worth another attempt, which continues where this one ended."""


class WrongBytes(Exception):
    """Bytes that are not those of the expected file."""


class Refused(Exception):
    """A refusal that another attempt would get again."""


class Body(NamedTuple):
    start: int  #: where in the file the bytes begin: 0 from a server that cannot skip
    size: int | None  #: of the whole file, if the server says so
    read: Callable[[], bytes]  #: the next bytes, b"" at the end
    close: Callable[[], None]


def open_body(url: str, start: int) -> Body:
    """The bytes from `start` on, or all bytes if the other side prefers."""
    if is_command(url):
        return _command(url.removeprefix(COMMAND))
    return _s3(url, start) if url.startswith("s3:") else _http(url, start)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https alone, never from https to http. Reports another host."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if new.scheme not in ("http", "https") or (old.scheme, new.scheme) == ("https", "http"):
            fp.close()
            raise Refused(f"expected a redirect to https, or from http to http, found one to {redacted(newurl)[:200]}")
        if new.hostname != old.hostname:
            print(f"{redacted(req.full_url)} is redirected to the host {new.hostname}", file=sys.stderr)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _http(url: str, start: int) -> Body:
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    opener = urllib.request.build_opener(_Redirects)
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        raise _error_of_status(error.code, error.reason) from None
    except http.client.InvalidURL as error:
        raise Refused(str(error)) from None
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(str(error) or type(error).__name__) from None
    except ValueError as error:  # urllib's own, for an address in a redirect that it cannot parse
        raise Refused(str(error)) from None

    def read() -> bytes:
        try:
            return bytes(response.read1(CHUNK))
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a wrong chunk length
            raise Interrupted(str(error) or type(error).__name__) from None

    try:
        return Body(*_extent(response.headers, start), read, response.close)
    except WrongBytes:
        response.close()
        raise


def _s3(url: str, start: int) -> Body:
    client = _s3_client()
    from botocore import exceptions as botocore

    parts = urlsplit(url)
    skip = {"Range": f"bytes={start}-"} if start else {}
    permanent = (botocore.NoCredentialsError, botocore.PartialCredentialsError, botocore.ParamValidationError)
    try:
        found = client.get_object(Bucket=parts.netloc, Key=parts.path.lstrip("/"), **skip)
    except botocore.ClientError as error:
        raise _error_of_status(error.response["ResponseMetadata"]["HTTPStatusCode"], str(error)) from None
    except permanent as error:
        raise Refused(f"{error} (credentials are found as the AWS tools find them)") from None
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


def _error_of_status(status: int, reason: str) -> Exception:
    text = f"the server answered {status} {reason[:500]}"
    if status == 416:
        return WrongBytes(f"{text}: the file there is shorter than expected")
    return Interrupted(text) if status in (408, 425, 429) or status >= 500 else Refused(text)


def _extent(headers: Mapping[str, str], asked: int) -> tuple[int, int | None]:
    """Offset of a response's first byte in the file, and the size of the whole file."""
    headers = {name.lower(): value for name, value in headers.items()}
    if (encoding := headers.get("content-encoding", "identity").strip().lower()) not in ("identity", ""):
        raise WrongBytes(f"expected the bytes of the file, found them encoded as {encoding[:50]!r}")
    if "content-range" in headers:
        found = re.fullmatch(r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15}|\*)", headers["content-range"].strip())
        if not found:
            raise WrongBytes(f"expected the bytes from {asked:,} on, found {headers['content-range'][:50]!r}")
        return int(found[1]), None if found[2] == "*" else int(found[2])
    length = headers.get("content-length")
    if length is not None and not LENGTH.fullmatch(length.strip()):
        raise WrongBytes(f"expected a Content-Length in bytes, found {length[:50]!r}")
    return 0, int(length) if length is not None else None


def _command(command: str) -> Body:
    errors = tempfile.TemporaryFile()  # noqa: SIM115  closed with the process
    watched, ours = os.pipe()
    process = subprocess.Popen(
        ["sh", "-c", WATCHED, "sh", command],
        stdin=watched,
        stdout=subprocess.PIPE,
        stderr=errors,
        start_new_session=True,
    )
    os.close(watched)
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
            os.close(ours)

    return Body(0, None, read, close)
