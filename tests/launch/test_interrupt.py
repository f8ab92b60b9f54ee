"""A signal ends a command at any time: at once while it imports, later by KeyboardInterrupt, once."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.interrupt import AGAIN_S, SIGNALS, interrupted_by_signals
from tests.conftest import ROOT

COMMANDS = (
    ["-m", "train.score", "run"],
    ["train/main.py"],
    ["-m", "data.anchors", "shards"],
    ["-u", "-m", "train.check"],
)


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_command_that_imports_ends_in_one_line(command: list[str], sent: signal.Signals) -> None:
    process = subprocess.Popen([sys.executable, *command], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    maps = Path(f"/proc/{process.pid}/maps")
    while "numpy" not in maps.read_text():  # long before the end of all imports
        time.sleep(0.01)
    process.send_signal(sent)
    assert process.communicate(timeout=60)[1] == "error: interrupted\n"
    assert process.returncode == 130


def test_programs_that_import_this_one_keep_their_handlers(tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(
        "import train, data, signal\nprint([signal.getsignal(2), signal.getsignal(15)])"
    )
    for start in (["theirs.py"], ["-m", "theirs"]):
        done = subprocess.run(
            [sys.executable, *start],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert "default_int_handler" in done.stdout and "Handlers.SIG_DFL" in done.stdout, done.stderr


def test_the_second_signal_of_one_ctrl_c_does_not_interrupt_the_cleaning_up() -> None:
    before, undone = list(map(signal.getsignal, SIGNALS)), []

    def write() -> None:
        with interrupted_by_signals():
            try:
                os.kill(os.getpid(), signal.SIGINT)
            finally:
                os.kill(os.getpid(), signal.SIGTERM)
                undone.append(True)

    with pytest.raises(KeyboardInterrupt):
        write()
    assert undone and list(map(signal.getsignal, SIGNALS)) == before


def test_a_later_signal_interrupts_again() -> None:
    with interrupted_by_signals():
        for pause_s in (AGAIN_S + 0.1, 0):
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(pause_s)


def test_what_was_ignored_stays_ignored() -> None:
    """By nohup, or by a shell for a command in the background."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupted_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_an_exception_might_crash_is_undone_and_ended_at_once() -> None:
    script = """
import os, signal
from launch import interrupt
interrupt._is_command = lambda: True
with interrupt.ended_at_once(lambda: print("undone", flush=True)):
    os.kill(os.getpid(), signal.SIGTERM)
print("not ended")
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "undone\n", "error: interrupted\n")


@pytest.mark.parametrize("filled_again", [False, True])
def test_a_mapped_file_that_is_cut_short_is_named(tmp_path: Path, filled_again: bool) -> None:
    """Python cannot catch the bus error of reading it. By then the other program may have written all of it again."""
    files = [tmp_path / "whole", tmp_path / "a cut one"]
    for path in files:
        path.write_bytes(bytes(100_000))
    os.utime(files[0], (1e9, 1e9))
    script = f"""
import mmap, os, sys
from launch import interrupt

def found(cut_files=interrupt.cut_files):
    os.truncate(sys.argv[2], {100_000 if filled_again else 10})
    return cut_files()

interrupt.cut_files = found
interrupt.name_cut_files()
files = [open(path, "rb") for path in sys.argv[1:]]
maps = [mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) for file in files]
os.truncate(sys.argv[2], 10)
print(maps[0][50_000], flush=True)
maps[1][50_000]
"""
    command = [sys.executable, "-c", script, *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    expected = (
        f"error: bus error: {files[1]} was cut short, or lost its disk, while in use; restore it and start again\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "0\n", expected)
