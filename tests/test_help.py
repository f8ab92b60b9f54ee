"""Every command says how it is used."""

import re
import runpy
import sys

import pytest

from tests.conftest import ROOT

COMMANDS = sorted(
    path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__main__")
    for package in ("train", "data", "launch", "benchmarks")
    for path in (ROOT / package).rglob("*.py")
    if re.search(r"^if __name__ ==", path.read_text(), re.MULTILINE)
)


def test_there_are_commands() -> None:
    assert {"train.main", "train.config", "data.shards", "launch.submit", "benchmarks.faults"} <= set(COMMANDS)


@pytest.mark.filterwarnings("ignore:.* found in sys.modules:RuntimeWarning")  # imported by earlier tests
@pytest.mark.parametrize("word", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_how_it_is_used(
    command: str, word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [command, word])
    monkeypatch.setattr("launch.processes.environment.leave", sys.exit)
    status: object = None
    try:
        runpy.run_module(command, run_name="__main__", alter_sys=False)
    except SystemExit as end:
        status = end.code
    said = capsys.readouterr()
    assert not status and not said.err and len(said.out.split()) > 8
    assert command.rpartition(".")[2] in said.out
