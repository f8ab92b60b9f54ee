"""On a pseudo terminal, in a log file, and where there is neither."""

import io
import os
import pty
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conftest import ROOT
from train.run.console import Console, printable

SCRIPT = """
from train.run.console import Console
console = Console(0, 100)
for images in range(10, 101, 10):
    console.line(images, "loss 1.5 valve [open] [/b] 图")
console.line(100, "epoch 1: valve [open] 0.50  [/b] 0.25  图 0.75  \\x1b[31mred 0.10", keep=True)
console.close()
"""


def on_a_terminal(script: str, encoding: str) -> tuple[int, str]:
    """Exit status, and what reached the terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "TERM": "xterm", "COLUMNS": "200"}
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 4096):
            seen += part
    except OSError:  # the other end has closed
        pass
    os.close(ours)
    return process.wait(), seen.decode(encoding, "replace")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_names_are_shown_as_they_are_on_any_terminal(encoding: str) -> None:
    status, seen = on_a_terminal(SCRIPT, encoding)
    letter = "图" if encoding == "utf-8" else "\\u56fe"
    assert status == 0 and "Traceback" not in seen, seen
    assert f"epoch 1: valve [open] 0.50  [/b] 0.25  {letter} 0.75  \\x1b[31mred 0.10" in seen
    assert f"valve [open] [/b] {letter}" in seen and "100 %" in seen


def test_a_log_file_gets_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(100, 400)
    console.line(200, "loss 1.5 [b]")
    console.line(200, "epoch 1: [/b] 0.5", keep=True)
    console.close()
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("      200/400 images  loss 1.5 [b]  left ") and first.endswith(" min")
    assert "  epoch 1: [/b] 0.5  " in second


@pytest.mark.parametrize("where", ["| head -c 1", ">&-", "> /dev/full"])
def test_a_stdout_that_is_gone_ends_nothing(tmp_path: Path, where: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from train.run.console import Console
        console = Console(0, 100)
        for images in range(20):
            console.line(images, 100 * "long ")
            time.sleep(0.02)
        console.close()
        Path(sys.argv[1]).write_text("through")
        """)
    )
    command = f"{sys.executable} {script} {tmp_path}/through {where}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0 and "Error" not in done.stderr, done.stderr
    assert (tmp_path / "through").read_text() == "through"


def test_no_stdout_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    console = Console(0, 10)
    console.line(5, "loss")
    console.close()


def test_a_closed_stdout_is_said_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stdout)
    console = Console(0, 10)
    stdout.close()
    console.line(5, "loss")
    console.line(6, "loss")
    console.close()


def test_what_an_encoding_cannot_spell_is_escaped() -> None:
    assert printable("größe 图", "latin-1") == "größe \\u56fe"
    assert printable("图\x1b[31m\n\udcff", "utf-8") == "图\\x1b[31m\\n\\udcff"
    assert printable("ok 图", None) == printable("ok 图", "no-such-encoding") == "ok \\u56fe"
