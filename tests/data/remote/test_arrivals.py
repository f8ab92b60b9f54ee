"""Nobody waits for a shard that will not come."""

import shutil
from pathlib import Path

import pytest

import data.remote.arrivals
from data.remote.arrivals import Arrivals
from data.remote.lock import LOCK
from data.remote.remote_set import open_remote
from data.shards.index import ShardIndex
from tests.data.remote.test_staging import holder_of
from tests.servers import Liar

pytestmark = pytest.mark.usefixtures("no_time_to_waste")


def test_nobody_brings_it(liar: Liar, tmp_path: Path) -> None:
    index = open_remote(liar.address, str(tmp_path))
    with pytest.raises(
        ValueError, match=r"expected .*\.tar, found no process that downloads it for 0.3 s; start the run"
    ):
        Arrivals(index).wait_for(0)


def test_nothing_comes_any_more(liar: Liar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.remote.arrivals, "PATIENCE_S", 0.3)
    index = open_remote(liar.address, str(tmp_path))
    with holder_of(index.folder) as other:
        try:
            with pytest.raises(
                ValueError, match=r"expected .*\.tar, found no byte coming for 0.3 s; start the run again"
            ):
                Arrivals(index).wait_for(0)
        finally:
            other.kill()


def test_a_local_shard_that_vanished_leaves_no_trace_of_waiting(index: ShardIndex, tmp_path: Path) -> None:
    folder = shutil.copytree(index.folder, tmp_path / "local")
    local = ShardIndex.load(folder)
    (folder / local.shards[0].name).unlink()
    with pytest.raises(ValueError, match="found no process that downloads it"):
        Arrivals(local).wait_for(0)
    assert not (folder / LOCK).exists()
