"""A command that brings bytes ends with whoever reads them."""

import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from data.remote.fetch import open_body
from tests.conftest import ROOT

READER = "import sys; from data.remote.fetch import open_body; print(open_body(sys.argv[1], 0).read())"


def is_running(number: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def gone_within(seconds: float, *numbers: int) -> bool:
    end = time.monotonic() + seconds
    while any(map(is_running, numbers)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(is_running, numbers))


def test_a_command_gets_its_words_as_they_are() -> None:
    body = open_body("pipe:printf '%s' \"a  b's $0\"; exit 0", 0)
    assert body.read() == b"a  b's sh" and body.read() == b""
    body.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_command_ends_with_its_reader(tmp_path: Path, number: signal.Signals) -> None:
    command = f"pipe:sleep 60 & echo $! > {tmp_path}/inner; echo $$ > {tmp_path}/outer; trap '' TERM INT HUP; sleep 60"
    reader = subprocess.Popen([sys.executable, "-c", READER, command], cwd=ROOT, stderr=subprocess.DEVNULL)
    while not (tmp_path / "outer").exists() or not (tmp_path / "outer").read_text():
        time.sleep(0.05)
    numbers = [int((tmp_path / name).read_text()) for name in ("inner", "outer")]
    assert all(map(is_running, numbers))
    reader.send_signal(number)
    reader.wait(20)
    assert gone_within(2, *numbers)


def test_closing_ends_a_command_that_is_still_writing() -> None:
    body = open_body("pipe:echo $$; exec yes", 0)
    number = int(body.read().split()[0])
    body.close()
    assert gone_within(2, number)
