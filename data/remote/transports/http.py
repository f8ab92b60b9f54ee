"""By http(s), through the standard library, whose reads would wait and grow without end for a server that lies."""

import http.client
import io
import re
import sys
import time
import urllib.error
import urllib.request
from typing import IO, Any
from urllib.parse import urlsplit

from data.remote.transports import body
from data.remote.transports.body import (
    CHUNK,
    LEAST_BYTES,
    Body,
    Interrupted,
    Refused,
    WrongBytes,
    error_of_status,
    extent,
    in_one_line,
)
from launch.redact import redacted

MOST_AROUND = 8 << 20  # bytes of headers, of lengths of chunks and of redirects between two pieces of the file


class _Watched(io.RawIOBase):
    """What comes from a server: an error if it is next to nothing for long, or much that is not of the file."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw, self._waited_s, self._come, self.around = raw, 0.0, 0, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        began = time.monotonic()
        count = self._raw.readinto(buffer) or 0
        self._waited_s += time.monotonic() - began
        self._come += count
        self.around += count
        if self._waited_s > body.TIMEOUT_S:
            if self._come < LEAST_BYTES:
                raise TimeoutError(f"{self._come:,} bytes in {self._waited_s:.0f} s")
            self._waited_s, self._come = 0.0, 0
        if self.around > MOST_AROUND:
            raise http.client.HTTPException(f"more than {MOST_AROUND:,} bytes that are not of the file")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.watched = _Watched(self.fp.detach())
        self.fp = io.BufferedReader(self.watched)


class _Connection(http.client.HTTPConnection):
    response_class = _Response


class _SecureConnection(http.client.HTTPSConnection):
    response_class = _Response


class _Http(urllib.request.HTTPHandler):
    def http_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_Connection, req)


class _Https(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> Any:
        return self.do_open(_SecureConnection, req)


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
        expected = "without user and password" if "@" in new.netloc else "to https, or from http to http"
        allowed = new.scheme in ("http", "https") and (old.scheme, new.scheme) != ("https", "http")
        if not allowed or "@" in new.netloc or new.port == 0:  # ValueError: there is no such port
            fp.close()
            raise Refused(f"expected a redirect {expected}, found one to {in_one_line(newurl)}")
        if new.hostname != old.hostname:
            print(
                f"{redacted(req.full_url)} is redirected to the host {in_one_line(new.hostname or '')}", file=sys.stderr
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def open_http(url: str, start: int) -> Body:
    if re.search(r"[\x00-\x20\x7f]", url):  # http.client's own error would show the query
        raise Refused("expected an address without blanks and control characters, such as %20 for a blank")
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    opener = urllib.request.build_opener(_Redirects, _Http, _Https)
    try:
        response = opener.open(urllib.request.Request(url, headers=headers), timeout=body.TIMEOUT_S)
    except urllib.error.HTTPError as error:
        error.close()
        raise error_of_status(error.code, str(error.reason)) from None
    except http.client.InvalidURL as error:
        raise Refused(in_one_line(error)) from None
    except (OSError, http.client.HTTPException) as error:
        raise Interrupted(in_one_line(error) or type(error).__name__) from None
    except (ValueError, OverflowError) as error:  # of an address in a redirect that cannot be parsed or connected to
        raise Refused(in_one_line(error)) from None

    def read() -> bytes:
        try:
            data = bytes(response.read1(CHUNK))
        except (OSError, http.client.HTTPException, ValueError) as error:  # ValueError: a wrong chunk length
            raise Interrupted(in_one_line(error) or type(error).__name__) from None
        response.watched.around = 0
        return data

    try:
        return Body(*extent(response.headers, start), read, response.close)
    except WrongBytes:
        response.close()
        raise
