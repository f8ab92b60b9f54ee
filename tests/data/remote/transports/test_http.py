"""Servers that speak HTTP wrongly, slowly or for ever. (Wrong files: tests/data/remote/test_fetch.py.)"""

import gc
import re
import time
from collections.abc import Iterator
from http.client import HTTPMessage
from io import BytesIO
from urllib.request import Request

import pytest

import data.remote.transports.body
from data.remote.transports.body import Interrupted, Refused, WrongBytes
from data.remote.transports.http import _Redirects, open_http
from tests.servers import speaker

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # urllib drops a connection that ends in an error
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
FIVE = b"5\r\nhello\r\n"
FOUND = b"HTTP/1.1 302 Found\r\nLocation: "


def everything(address: str, most: int = 1 << 20) -> bytes:
    body, found = open_http(address, 0), b""
    try:
        while (data := body.read()) and len(found) < most:
            found += data
    finally:
        body.close()
    return found


@pytest.fixture(autouse=True)
def no_connection_is_left() -> Iterator[None]:
    yield
    gc.collect()


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"", b"H"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK + b"X: ", b"x"),
        (CHUNKED + b"5;", b"x"),
        (CHUNKED + FIVE + b"0\r\n", b"X: y\r\n"),
        (FOUND + b"/set\r\n\r\n", b"x"),
    ],
    ids=["a status", "other statuses", "a header", "the length of a chunk", "what follows the file", "a redirect"],
)
def test_whatever_drips_is_left_in_time(first: bytes, again: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.remote.transports.body, "TIMEOUT_S", 1)
    began = time.monotonic()
    with speaker(first, again, 0.05) as address, pytest.raises(Interrupted, match=r"^\d+ bytes in 1 s$"):
        everything(address)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("first", "again"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        (CHUNKED + FIVE + b"0\r\n", b"X: yyyyyyyyyyyyy\r\n" * 1000),
        (FOUND + b"/set\r\n\r\n", b"x" * 65536),
    ],
    ids=["statuses", "what follows the file", "a redirect"],
)
def test_whatever_never_ends_is_left(first: bytes, again: bytes) -> None:
    with speaker(first, again) as address, pytest.raises(Interrupted, match="bytes that are not of the file"):
        everything(address)


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n", Interrupted, "SSH-2.0-OpenSSH_9"),
        (b"\x1b[2J" + b"a" * 60_000 + b"\r\n", Interrupted, r"\?\[2Ja{196}"),
        (b"HTTP/1.1 503 \x1b[2J\r\nRetry-After: 1000000000\r\n\r\n", Interrupted, r"the server answered 503 \?\[2J"),
        (CHUNKED + b"f" * 6000 + b"\r\nx", Interrupted, ".*"),
        (CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n", Interrupted, ".*"),
        (OK + b"Content-Length: 1e3\r\n\r\n", WrongBytes, "expected a Content-Length in bytes, found '1e3'"),
        (
            FOUND + b"http://me:secret@127.0.0.1:1/a\r\n\r\n",
            Refused,
            "expected a redirect .* found one to http://127.*",
        ),
        (FOUND + b"http://127.0.0.1:99999/a?x=secret\r\n\r\n", Refused, "Port out of range 0-65535"),
        (FOUND + b"http://" + b"a" * 70 + b"\r\n\r\n", Refused, ".*label.*too long.*"),
        (FOUND + b"/set?x=secret\r\n\r\n", Refused, "the server answered 302 .* infinite loop.*"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_a_server_says_is_shown_in_one_line(answer: bytes, error: type[Exception], said: str) -> None:
    with speaker(answer) as address, pytest.raises(error) as found:
        everything(address + "?x=secret")
    assert re.fullmatch(said, str(found.value)), str(found.value)
    assert "secret" not in str(found.value) and len(str(found.value)) < 300


def test_a_chunked_file_comes_whole() -> None:
    with speaker(CHUNKED + FIVE * 3 + b"0\r\nX: y\r\n\r\n") as address:
        assert everything(address) == b"hello" * 3


def test_an_address_with_blanks_is_refused_without_its_token() -> None:
    with pytest.raises(Refused, match="%20 for a blank") as found:
        open_http("http://host/set?token=sec ret", 0)
    assert "sec" not in str(found.value)


def test_a_redirect_never_leads_from_https_to_http() -> None:
    request, handler = Request("https://host/set"), _Redirects()
    with pytest.raises(Refused, match=r"expected a redirect to https, .*, found one to http://host/set$"):
        handler.redirect_request(request, BytesIO(), 302, "Found", HTTPMessage(), "http://host/set?token=secret")
    assert handler.redirect_request(request, BytesIO(), 302, "Found", HTTPMessage(), "https://host/other")
