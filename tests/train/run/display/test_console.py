"""On a pseudo terminal, in a log file, and where there is neither."""

import io
import os
import pty
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conftest import ROOT
from train.run.display.console import Console, encodable

SCRIPT = """
from train.run.display.console import Console
console = Console(0, 100, 4)
for images in range(10, 101, 10):
    console.line(images, "loss 1.5 valve [open] [/b] 图")
console.aside("evaluating: 1 of 9 images")
console.line(100, "epoch 1: valve [open] 0.50  [/b] 0.25  图 0.75  \\x1b[31mred 0.10", keep=True)
console.close()
"""


def on_a_terminal(script: str, encoding: str, columns: int = 200) -> tuple[int, str]:
    """Exit status, and what reached the terminal."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "TERM": "xterm", "COLUMNS": str(columns)}
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
    assert f"valve [open] [/b] {letter}" in seen and "evaluating" in seen
    assert "100 %" in seen and "evaluating" not in seen[seen.rindex("%") :]


@pytest.mark.parametrize("columns", [60, 80, 100])
def test_a_narrow_terminal_shows_the_bar_and_the_time_left(columns: int) -> None:
    script = """
from train.run.display.console import Console
console = Console(0, 25000, 10)
console.began -= 60
console.line(12500, "loss    6.793  iou 0.76  rate 1.7e-03  side 224    36.7 images/s  waits   0%")
console.close()
"""
    status, seen = on_a_terminal(script, "utf-8", columns)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen)
    assert status == 0 and re.search("━╺━+  50 % left 60 s  epoch 5/10  12,500", shown), shown


def test_a_log_file_gets_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(100, 1400, 7)
    console.line(100, "loss 1.5 [b]")
    console.began -= 60
    console.line(200, "loss 1.5 [b]")
    console.line(201, "loss 1.5 [b]")
    console.line(1406, "loss 1.5 [b]")
    console.line(200, "epoch 1/7: [/b] 0.5", keep=True)
    console.close()
    assert capsys.readouterr().out.splitlines() == [
        "epoch 1/7    100/1,400 images  loss 1.5 [b]  left ?",
        "epoch 1/7    200/1,400 images  loss 1.5 [b]  left 12.0 min",
        "epoch 2/7    201/1,400 images  loss 1.5 [b]  left 11.9 min",
        "epoch 7/7  1,400/1,400 images  loss 1.5 [b]  left 0 s",
        "epoch 1/7: [/b] 0.5  left 12.0 min",
    ]


def test_what_is_no_training_is_told_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(0, 100, 1)
    console.aside("evaluating: 1 of 9 images")
    monkeypatch.setattr("train.run.display.console.ASIDE_S", 0.0)
    console.aside("evaluating: 2 of 9 images")
    assert capsys.readouterr().out == "evaluating: 2 of 9 images\n"


@pytest.mark.parametrize("where", ["| head -c 1", ">&-", "> /dev/full"])
def test_a_stdout_that_is_gone_ends_nothing(tmp_path: Path, where: str) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from train.run.display.console import Console
        console = Console(0, 100, 4)
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
    console = Console(0, 10, 1)
    console.line(5, "loss")
    console.close()


def test_a_closed_stdout_is_said_by_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stdout)
    console = Console(0, 10, 1)
    stdout.close()
    console.line(5, "loss")
    console.line(6, "loss")
    console.close()


def test_what_an_encoding_cannot_spell_is_escaped() -> None:
    assert encodable("größe 图", "latin-1") == "größe \\u56fe"
    assert encodable("图\x1b[31m\n\udcff", "utf-8") == "图\\x1b[31m\\n\\udcff"
    assert encodable("ok 图", None) == encodable("ok 图", "no-such-encoding") == "ok \\u56fe"
