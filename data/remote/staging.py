"""Downloads shards into a local folder.

One process of a node at a time holds the lock of a folder and writes into it; the kernel releases the lock when that
process dies, so that another one continues. Processes communicate through the folder alone: a shard is there under its
name or not yet (data/remote/arrivals.py waits for it), and a file says why the rest will not come.
"""

import shutil
import sys
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import NamedTuple

from data.files import length
from data.remote.addresses import is_remote
from data.remote.arrivals import FAILURE, POLL_S
from data.remote.fetch import fetch
from data.remote.lock import FolderLock
from data.shards.format.header import Shard
from data.shards.index import ShardIndex
from data.wording import counted

PROGRESS_S = 10.0  # between two lines about progress
CONNECTIONS = 4  # a window of shards is needed at once, so it costs nothing if the first shares the line with others


@dataclass(frozen=True)
class Wanted:
    """Shards of one set, in the order in which they are needed."""

    address: str
    index: ShardIndex
    shards: Iterable[int]


class Download(NamedTuple):
    address: str
    folder: Path
    shard: Shard

    @property
    def path(self) -> Path:
        return self.folder / self.shard.name

    @property
    def part(self) -> Path:
        return self.folder / f"{self.shard.name}.part"

    def done(self) -> bool:
        return length(self.path) == self.shard.bytes

    def missing_bytes(self) -> int:
        return 0 if self.done() else max(0, self.shard.bytes - (length(self.part) or 0))


class Staging:
    """A thread, while the context is open, that downloads shards or stands by while another process does."""

    def __init__(self, wanted: Iterable[Wanted]) -> None:
        """wanted: local sets are ignored."""
        downloads = [
            Download(each.address, each.index.folder, each.index.shards[number])
            for each in wanted
            if is_remote(each.address)
            for number in each.shards
        ]
        self._downloads = list(dict.fromkeys(downloads))
        self._locks = {download.folder: FolderLock(download.folder) for download in self._downloads}
        self._stop = Event()
        self._failure: str | None = None

    def __enter__(self) -> "Staging":
        mine = [folder for folder, lock in self._locks.items() if lock.acquire()]
        for folder in mine:
            (folder / FAILURE).unlink(missing_ok=True)  # from an earlier run
        for download in self._downloads:
            if download.folder in mine and download.path.exists() and not download.done():
                download.path.unlink()  # truncated or grown since its download
        try:
            self._require_room(mine)
        except ValueError:
            self._release(mine)
            raise
        Thread(target=self._run, args=(mine,), daemon=True, name="staging").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()  # a thread that waits for bytes sees it with the next ones; only then is the lock released

    def _run(self, mine: list[Path]) -> None:
        self._download(mine)
        others = [folder for folder in self._locks if folder not in mine]
        while others and not self._stop.wait(POLL_S):
            for folder in [folder for folder in others if self._locks[folder].acquire()]:
                others.remove(folder)
                if (folder / FAILURE).exists():  # the holder of the lock failed: the same message for all
                    self._release([folder])
                else:
                    self._download([folder])

    def _download(self, folders: list[Path]) -> None:
        """Downloads all that is wanted into folders whose locks we hold."""
        try:
            self._require_room(folders)
            downloads = deque(
                download for download in self._downloads if download.folder in folders and not download.done()
            )
            if downloads:
                self._download_all(downloads)
        except (ValueError, OSError) as error:
            self._fail(str(error))
        for folder in folders if self._failure else ():
            with suppress(OSError):
                (folder / FAILURE).write_text(str(self._failure))
        self._release(folders)

    def _download_all(self, downloads: deque[Download]) -> None:
        began, size = time.monotonic(), sum(download.missing_bytes() for download in downloads)
        folders = ", ".join(dict.fromkeys(str(download.folder) for download in downloads))
        what = f"{counted(len(downloads), 'shard')} ({size / 1e9:.2f} GB) into {folders}"
        print(f"staging {what}", file=sys.stderr)
        wanted, told = list(downloads), began
        threads = [Thread(target=self._work, args=(downloads,), daemon=True) for _ in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(POLL_S)
                if time.monotonic() - told > PROGRESS_S and not self._stop.is_set():
                    told = time.monotonic()
                    _print_progress(size, sum(download.missing_bytes() for download in wanted), told - began)
        if not self._stop.is_set():
            print(f"staged {what} in {time.monotonic() - began:.0f} s", file=sys.stderr)

    def _work(self, downloads: deque[Download]) -> None:
        while not self._stop.is_set():
            try:
                download = downloads.popleft()
            except IndexError:
                return
            shard = download.shard
            try:
                fetch(
                    download.address, shard.name, download.path, sha256=shard.sha256, size=shard.bytes, stop=self._stop
                )
            except ValueError as error:
                self._fail(str(error))
            except OSError as error:
                download.part.unlink(missing_ok=True)  # on a full disk, to make room for the message
                self._fail(f"{download.path} could not be written ({error}); free some space or fix the permissions")

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._stop.set()
        print(f"staging ended: {reason}", file=sys.stderr)

    def _require_room(self, folders: list[Path]) -> None:
        missing = sum(download.missing_bytes() for download in self._downloads if download.folder in folders)
        if folders and (free := shutil.disk_usage(folders[0]).free) < missing:
            raise ValueError(
                f"{folders[0].parent}: expected room for the {missing / 1e9:.2f} GB still to come, found "
                f"{free / 1e9:.2f} GB; free some space or choose another data.staging"
            )

    def _release(self, folders: list[Path]) -> None:
        for folder in folders:
            self._locks[folder].release()


def _print_progress(size: int, missing: int, seconds: float) -> None:
    speed = (size - missing) / seconds
    left = f"{missing / speed:.0f} s left" if speed else "nothing yet"
    print(f"staging: {(size - missing) / 1e9:.2f} of {size / 1e9:.2f} GB, {left}", file=sys.stderr)
