"""python -m data.remote."""

import subprocess
import sys
from pathlib import Path

import pytest

from data.remote.__main__ import main
from data.shards.index import ShardIndex
from tests.conftest import ROOT
from tests.data.remote.test_remote_set import assert_whole
from tests.servers import Liar


def test_a_whole_set_by_command(
    liar: Liar, index: ShardIndex, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([liar.address, str(tmp_path)])
    assert_whole(Path(capsys.readouterr().out.strip()), index)
    liar.behaviour["index.json"].append("404")
    with pytest.raises(ValueError, match=r"^http.*/nowhere/index.json: the server answered 404"):
        main([liar.address.replace("/set", "/nowhere"), str(tmp_path)])


def test_the_command_without_a_folder_says_what_it_takes() -> None:
    command = [sys.executable, "-m", "data.remote", "http://host/set"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "error: expected python -m data.remote ADDRESS STAGING\n")
