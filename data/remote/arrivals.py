"""Waits for shards that another thread or process downloads into a folder."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from data.remote.lock import FolderLock
from data.shards.index import ShardIndex

POLL_S = 0.2
GRACE_S = 10  # without a process that downloads shards
PATIENCE_S = 600  # without a byte; data.remote.fetch gives up earlier
FAILURE = "staging-failed.txt"  # says why the rest will not come


def wait_for(path: Path, stopping: Callable[[], bool] | None = None) -> bool:
    """Waits until the shard is there; False if `stopping`. ValueError: it will not come."""
    folder, lock = path.parent, FolderLock(path.parent)
    alone_s, changed, before = 0.0, time.monotonic(), _sizes(folder)
    while not path.exists():
        if stopping and stopping():
            return False
        held = lock.is_held()
        if not held and (folder / FAILURE).exists():
            raise ValueError((folder / FAILURE).read_text())
        alone_s = 0.0 if held else alone_s + POLL_S
        if (sizes := _sizes(folder)) != before:
            changed, before = time.monotonic(), sizes
        if alone_s > GRACE_S or time.monotonic() - changed > PATIENCE_S:
            found = f"no process that downloads it for {GRACE_S} s" if alone_s else f"no byte coming for {PATIENCE_S} s"
            raise ValueError(f"expected {path}, found {found}; start the run again, it continues the download")
        time.sleep(POLL_S)
    return True


class Arrivals:
    """The shards of a set, some of which may still be on their way."""

    def __init__(self, index: ShardIndex) -> None:
        self._index = index
        self._there: set[int] = set()

    def wait_for(self, sample: int, stopping: Callable[[], bool] | None = None) -> bool:
        """Waits until the sample's shard is there; False if `stopping`."""
        return self.has(sample) or wait_for(self._path(self._shard(sample)), stopping)

    def has(self, sample: int) -> bool:
        """Whether the sample's shard is there; looks on disk until it is."""
        shard = self._shard(sample)
        if shard not in self._there and self._path(shard).exists():
            self._there.add(shard)
        return shard in self._there

    def _shard(self, sample: int) -> int:
        return int(self._index.arrays["shards"][sample])

    def _path(self, shard: int) -> Path:
        return self._index.folder / self._index.shards[shard].name


def _sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file: growth is judged by size, since clocks differ and jump."""
    sizes = {}
    for path in folder.iterdir():
        with suppress(FileNotFoundError):
            sizes[path.name] = path.stat().st_size
    return sizes
