import io
import sys

import pytest

from data.view.attempts import Attempts, notice
from launch.command import Stopped


def fail(error: Exception) -> None:
    raise error


def test_a_failure_is_said_once_and_ends_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    attempt = Attempts("training continues")
    for _ in range(3):
        assert not attempt("the board", lambda: fail(OSError(28, "No space left on device")))
    assert not attempt("the console", lambda: fail(ValueError("two\nlines")))
    assert capsys.readouterr().err.splitlines() == [
        "the board failed ([Errno 28] No space left on device); training continues",
        "the console failed (ValueError: two lines); training continues",
    ]


def test_what_works_again_is_shown_again() -> None:
    attempt, shown = Attempts("training continues"), list[int]()
    assert not attempt("the board", lambda: fail(OSError()))
    assert attempt("the board", lambda: shown.append(1)) and shown == [1]


@pytest.mark.parametrize("asked", [KeyboardInterrupt, Stopped])
def test_a_signal_is_no_failure(asked: type[BaseException]) -> None:
    def interrupt() -> None:
        raise asked

    with pytest.raises(asked):
        Attempts("")("the board", interrupt)


@pytest.mark.parametrize("stream", ["closed", "none", "latin-1"])
def test_a_notice_needs_no_stream_and_no_encoding(monkeypatch: pytest.MonkeyPatch, stream: str) -> None:
    written = io.BytesIO()
    stderr = io.TextIOWrapper(written, encoding="latin-1")
    if stream == "closed":
        stderr.close()
    monkeypatch.setattr(sys, "stderr", None if stream == "none" else stderr)
    notice("图.jpg")
    assert stream != "latin-1" or written.getvalue() == b"\\u56fe.jpg\n"
