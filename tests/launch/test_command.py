"""A command ends with its result or with one line that a person can read, whatever the console is."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from launch.command import reason_of
from tests.conftest import ROOT

COMMAND = """
import signal, sys, time
from launch.command import run

def main(words):
    if words[0] == "wait":
        print("waits", flush=True)
        time.sleep(60)
    if words[0] == "fail":
        raise eval(words[1])
    for _ in range(int(words[1])):
        print(words[0])
    print("done", file=sys.stderr)

sys.exit(run(main))
"""


def started(*words: str, stdout: object = subprocess.PIPE, **environ: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words],
        cwd=ROOT,
        env={**os.environ, **environ},
        stdout=stdout,  # type: ignore[call-overload]
        stderr=subprocess.PIPE,
        text=True,
        errors="surrogateescape",
    )


def ended(*words: str, stdout: object = subprocess.PIPE, **environ: str) -> tuple[int, str, str]:
    process = started(*words, stdout=stdout, **environ)
    out, errors = process.communicate(timeout=60)
    return process.returncode, out, errors


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("ValueError('expected 1, found 2')", "expected 1, found 2"),
        (
            "FileNotFoundError(2, 'No such file or directory', 'x')",
            "expected a usable file or folder, found No such file or directory: 'x'; correct the path or choose "
            "another place",
        ),
        (
            "OSError(74, 'Bad message', b'x')",
            "expected a usable file or folder, found Bad message: 'x'; choose another place",
        ),
        ("IsADirectoryError(21, 'Is a directory', 'x')", "x: expected a file, found a folder; choose another place"),
        (
            "OSError(24, 'Too many open files')",
            "[Errno 24] Too many open files: raise the limit with ulimit -n, or use fewer processes "
            "(data.workers, --workers)",
        ),
        (
            "OSError(27, 'File too large')",
            "[Errno 27] File too large: raise the limit with ulimit -f, or use a file system for larger files",
        ),
        (
            'RuntimeError("can\'t start new thread")',
            "can't start new thread: raise the limit with ulimit -u, or use fewer processes (data.workers, --workers)",
        ),
        (
            "RuntimeError(\"Symlink loop from '/x'\")",
            "expected a usable file or folder, found a symlink loop from '/x'; correct the links",
        ),
        (
            "OSError(12, 'Cannot allocate memory')",
            "out of memory ([Errno 12] Cannot allocate memory): use a smaller batch, fewer processes or a larger "
            "machine",
        ),
        (
            "IsADirectoryError(21, 'Is a directory', 'x.part', None, 'x')",
            "x: expected a file, found a folder; choose another place",
        ),
        ("ChildProcessError('killed, perhaps out of memory')", "killed, perhaps out of memory"),
        ("FloatingPointError('nan')", "nan"),
        ("UnicodeDecodeError('utf-8', b'x', 0, 1, 'why')", "'utf-8' codec can't decode byte 0x78 in position 0: why"),
        ("EOFError()", "EOFError"),
        ("ValueError('cl\\x1b[2Jass\\x07')", r"cl\x1b[2Jass\x07"),
        ("MemoryError()", "out of memory (MemoryError): use a smaller batch, fewer processes or a larger machine"),
    ],
)
def test_what_people_and_machines_cause_is_one_line(error: str, told: str) -> None:
    assert ended("fail", error) == (1, "", f"error: {told}\n")


def test_the_end_of_a_command_does_not_search_for_cycles() -> None:
    script = """
import gc, sys
from launch.command import run

class Found:
    def __del__(self):
        print("searched")

def main(_):
    found = Found()
    found.itself = found

gc.disable()
sys.exit(run(main))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("found_there", ["a file", "a link to nothing"])
def test_a_file_where_a_folder_belongs_is_said_so(tmp_path: Path, found_there: str) -> None:
    if found_there == "a file":
        (tmp_path / "out").touch()
    else:
        (tmp_path / "out").symlink_to("nowhere/else")
    for folder in (tmp_path / "out", tmp_path / "out/inner"):
        with pytest.raises(OSError, match=r".") as error:
            folder.mkdir(parents=True, exist_ok=True)
        assert (
            reason_of(error.value)
            == f"{tmp_path / 'out'}: expected a folder, found {found_there}; choose another place"
        )


def test_running_out_of_memory_is_known_whoever_reports_it() -> None:
    with pytest.raises(RuntimeError) as found:
        torch.empty(2**60)
    assert str(reason_of(found.value)).startswith("out of memory (")
    assert str(reason_of(torch.OutOfMemoryError("CUDA out of memory. Tried"))).startswith("out of memory (CUDA")
    assert reason_of(RuntimeError("sizes differ")) is None


def test_a_mistake_of_the_program_keeps_its_traceback() -> None:
    status, _, errors = ended("fail", "KeyError('x')")
    assert status == 1 and "Traceback" in errors and errors.endswith("KeyError: 'x'\n")


def test_a_traceback_is_shown_on_demand() -> None:
    status, _, errors = ended("fail", "--traceback", "ValueError('x')")
    assert status == 1 and "Traceback" in errors and errors.endswith("error: x\n")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_sigterm_and_a_closed_terminal_are_one_line(sent: signal.Signals) -> None:
    process = started("wait")
    assert process.stdout is not None and process.stdout.readline() == "waits\n"
    began = time.monotonic()
    process.send_signal(sent)
    assert process.communicate(timeout=20)[1] == "error: interrupted\n"
    assert process.returncode == 130 and time.monotonic() - began < 2


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252"])
def test_a_console_of_another_encoding_replaces_letters(encoding: str) -> None:
    assert ended("图", "1", PYTHONIOENCODING=encoding) == (0, "?\n", "done\n")
    assert ended("fail", "ValueError('图')", PYTHONIOENCODING=encoding) == (1, "", "error: ?\n")


def test_a_reader_that_leaves_ends_nothing() -> None:
    with started("x" * 100, "20000") as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == ("done\n", 0)


def test_a_full_disk_under_the_output_is_told_at_the_end() -> None:
    with Path("/dev/full").open("w") as full:
        status, _, errors = ended("x", "3000", stdout=full)
    assert status == 1 and errors.startswith("done\nerror: not all of the output could be written ([Errno 28]")


def test_without_any_console_it_runs() -> None:
    process = subprocess.run(
        ["bash", "-c", '"$@" >&- 2>&-', "-", sys.executable, "-c", COMMAND, "x", "3"], cwd=ROOT, timeout=60
    )
    assert process.returncode == 0
