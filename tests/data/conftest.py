import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import data.remote.arrivals
import data.remote.fetch
import data.remote.remote_set
import data.remote.staging
from tests.servers import Liar


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    """Shards that a test can spoil."""
    return shutil.copytree(shards / "train", tmp_path / "copy")


@pytest.fixture
def liar(shards: Path) -> Iterator[Liar]:
    """A server of the set, which does what it is told to."""
    with Liar({path.name: path.read_bytes() for path in (shards / "train").iterdir()}) as server:
        yield server


@pytest.fixture
def no_time_to_waste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.remote.fetch, "PAUSES_S", (0, 0.01, 0.01))
    for module in (data.remote.arrivals, data.remote.staging, data.remote.remote_set):
        monkeypatch.setattr(module, "POLL_S", 0.02)
    monkeypatch.setattr(data.remote.arrivals, "GRACE_S", 0.3)
