"""What every transport gives: the bytes of one remote file, or the reason why not. Nothing from there is trusted."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from launch.redact import redacted

TIMEOUT_S = 60  # without a byte
LEAST_BYTES = 1 << 16  # in TIMEOUT_S: whoever sends fewer counts as silent
CHUNK = 1 << 20
LENGTH = re.compile(r"[0-9]{1,15}")  # of a file, in bytes


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


def in_one_line(said: object) -> str:
    """What another program says: at most 200 letters, which move no cursor and hold no token."""
    text = redacted(" ".join(str(said).split()))[:200]
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def error_of_status(status: int, reason: str) -> Exception:
    text = f"the server answered {status} {in_one_line(reason)}".rstrip()
    if status == 416:
        return WrongBytes(f"{text}: the file there is shorter than expected")
    return Interrupted(text) if status in (408, 425, 429) or status >= 500 else Refused(text)


def extent(headers: Mapping[str, str], asked: int) -> tuple[int, int | None]:
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
