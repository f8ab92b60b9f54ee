"""What the headers of an answer say about its bytes, and what is shown of what others say."""

import pytest

from data.remote.transports.body import Interrupted, Refused, WrongBytes, error_of_status, extent, in_one_line


def test_where_the_bytes_begin() -> None:
    assert extent({"Content-Length": "5"}, 0) == (0, 5)
    assert extent({"content-range": "bytes 3-4/5", "Content-Length": "2"}, 3) == (3, 5)
    assert extent({"Content-Range": "bytes 3-4/*"}, 3) == (3, None)
    assert extent({}, 3) == (0, None)


@pytest.mark.parametrize(
    "headers", [{"Content-Range": "bytes */5"}, {"Content-Length": "²"}, {"Content-Encoding": "br"}]
)
def test_headers_that_say_nothing(headers: dict[str, str]) -> None:
    with pytest.raises(WrongBytes):
        extent(headers, 3)


def test_what_is_tried_again() -> None:
    kinds = {status: type(error_of_status(status, "")) for status in (301, 404, 416, 429, 503, 999)}
    assert kinds == {301: Refused, 404: Refused, 416: WrongBytes, 429: Interrupted, 503: Interrupted, 999: Interrupted}


def test_what_others_say_moves_no_cursor() -> None:
    assert in_one_line("a\x1b[2J\r\nb http://me:secret@h/?t=secret " + "c" * 999) == "a?[2J b http://h/ " + "c" * 182
