"""Shards on their way into a local folder: who brings them, and how to wait for one.

One process of a node at a time has the turn to write into a folder: it holds the lock, which the kernel takes from a
process that dies, so that another one goes on. Processes talk through the folder alone: a shard is there under its
name or not yet, and why the rest will not come is said in a file.
"""

import fcntl
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import IO, Any, NamedTuple

from data.remote.fetch import fetch, is_remote
from data.shards.header import Shard
from data.shards.index import ShardIndex

CONNECTIONS = 4  # a window of shards is needed at once, so it costs nothing that the first shares the line with others
POLL_S = 0.2
GRACE_S = 10  # without anybody who brings shards
PATIENCE_S = 600  # without a byte; data.fetch gives up earlier
LOCK = "staging.lock"
FAILURE = "staging-failed.txt"


class Turn:
    """The right to write into a folder. One process of the machine at a time has it, and loses it when it dies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: IO[Any] | None = None

    def take(self) -> bool:
        self._file = self._locked(fcntl.LOCK_EX)
        return self._file is not None

    def give_back(self) -> None:
        if self._file is not None:
            self._file.close()

    def taken(self) -> bool:
        """By anybody."""
        if not (self.folder / LOCK).exists():
            return False
        file = self._locked(fcntl.LOCK_SH)
        if file is not None:
            file.close()
        return file is None

    def _locked(self, kind: int) -> IO[Any] | None:
        file = (self.folder / LOCK).open("a")
        for pause_s in (0.01, 0):  # somebody may only be looking whether it is taken
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
                return file
            except BlockingIOError:
                time.sleep(pause_s)
            except OSError as error:
                raise ValueError(
                    f"{file.name} cannot be locked ({error}); choose a disk of this machine as data.staging"
                ) from None
        file.close()
        return None


@dataclass(frozen=True)
class Wanted:
    """Shards of one set, in the order in which they are needed."""

    address: str
    index: ShardIndex
    shards: Iterable[int]


class Job(NamedTuple):
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
        return _size(self.path) == self.shard.bytes

    def missing_bytes(self) -> int:
        return 0 if self.done() else max(0, self.shard.bytes - _size(self.part))


class Staging:
    """While entered, a thread brings what is wanted, or stands by while another process of this machine does."""

    def __init__(self, wanted: Iterable[Wanted]) -> None:
        """Local sets are passed over."""
        jobs = [
            Job(each.address, each.index.folder, each.index.shards[number])
            for each in wanted
            if is_remote(each.address)
            for number in each.shards
        ]
        self._jobs = list(dict.fromkeys(jobs))
        self._turns = {job.folder: Turn(job.folder) for job in self._jobs}
        self._stop = Event()
        self._failure: str | None = None

    def __enter__(self) -> "Staging":
        mine = [folder for folder, turn in self._turns.items() if turn.take()]
        for folder in mine:
            (folder / FAILURE).unlink(missing_ok=True)  # of an earlier run
        for job in self._jobs:
            if job.folder in mine and job.path.exists() and not job.done():
                job.path.unlink()  # cut or grown since it was brought
        try:
            self._require_room(mine)
        except ValueError:
            self._give_back(mine)
            raise
        Thread(target=self._run, args=(mine,), daemon=True, name="staging").start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()  # who waits for bytes sees it with the next ones; only then is the turn given back

    def _run(self, mine: list[Path]) -> None:
        self._bring(mine)
        others = [folder for folder in self._turns if folder not in mine]
        while others and not self._stop.wait(POLL_S):
            for folder in [folder for folder in others if self._turns[folder].take()]:
                others.remove(folder)
                if (folder / FAILURE).exists():  # whoever had the turn has failed: the same message for all
                    self._give_back([folder])
                else:
                    self._bring([folder])

    def _bring(self, folders: list[Path]) -> None:
        """All that is wanted in folders whose turns are ours."""
        try:
            self._require_room(folders)
            jobs = deque(job for job in self._jobs if job.folder in folders and not job.done())
            if jobs:
                self._bring_all(jobs)
        except (ValueError, OSError) as error:
            self._fail(str(error))
        for folder in folders if self._failure else ():
            with suppress(OSError):
                (folder / FAILURE).write_text(str(self._failure))
        self._give_back(folders)

    def _bring_all(self, jobs: deque[Job]) -> None:
        began, size = time.monotonic(), sum(job.missing_bytes() for job in jobs)
        folders = ", ".join(dict.fromkeys(str(job.folder) for job in jobs))
        what = f"{len(jobs)} shards ({size / 1e9:.2f} GB) into {folders}"
        print(f"staging {what}", file=sys.stderr)
        threads = [Thread(target=self._work, args=(jobs,), daemon=True) for _ in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if not self._stop.is_set():
            print(f"staged {what} in {time.monotonic() - began:.0f} s", file=sys.stderr)

    def _work(self, jobs: deque[Job]) -> None:
        while not self._stop.is_set():
            try:
                job = jobs.popleft()
            except IndexError:
                return
            shard = job.shard
            try:
                fetch(job.address, shard.name, job.path, sha256=shard.sha256, size=shard.bytes, stop=self._stop)
            except ValueError as error:
                self._fail(str(error))
            except OSError as error:
                job.part.unlink(missing_ok=True)  # on a full disk, room for the message
                self._fail(f"{job.path} could not be written ({error}); make room or correct the rights")

    def _fail(self, reason: str) -> None:
        self._failure = self._failure or reason
        self._stop.set()
        print(f"staging ended: {reason}", file=sys.stderr)

    def _require_room(self, folders: list[Path]) -> None:
        missing = sum(job.missing_bytes() for job in self._jobs if job.folder in folders)
        if folders and (free := shutil.disk_usage(folders[0]).free) < missing:
            raise ValueError(
                f"{folders[0].parent}: expected room for the {missing / 1e9:.2f} GB that are still to come, found "
                f"{free / 1e9:.2f} GB; make room or choose another data.staging"
            )

    def _give_back(self, folders: list[Path]) -> None:
        for folder in folders:
            self._turns[folder].give_back()


def wait_for(path: Path, stopping: Callable[[], bool] | None = None) -> bool:
    """Until the shard is there, or `stopping` (False then). ValueError: it will not come."""
    turn, began, alone_s = Turn(path.parent), time.time(), 0.0
    while not path.exists():
        if stopping and stopping():
            return False
        failure = path.parent / FAILURE
        taken = turn.taken()
        if not taken and failure.exists():
            raise ValueError(failure.read_text())
        alone_s = 0.0 if taken else alone_s + POLL_S
        idle_s = time.time() - max(began, _last_change(path.parent))
        if alone_s > GRACE_S or idle_s > PATIENCE_S:
            found = f"no process that brings it for {GRACE_S} s" if alone_s else f"no byte coming for {PATIENCE_S} s"
            raise ValueError(f"expected {path}, found {found}; start the run again, it goes on with what has come")
        time.sleep(POLL_S)
    return True


class Arrivals:
    """The shards of a set, of which some may still be on their way."""

    def __init__(self, index: ShardIndex) -> None:
        self._index = index
        self._there: set[int] = set()

    def wait_for(self, sample: int, stopping: Callable[[], bool] | None = None) -> bool:
        """Until its shard is there (looked for once), or `stopping`."""
        shard = int(self._index.arrays["shards"][sample])
        if shard not in self._there:
            if not wait_for(self._index.folder / self._index.shards[shard].name, stopping):
                return False
            self._there.add(shard)
        return True


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _last_change(folder: Path) -> float:
    times = [folder.stat().st_mtime]
    for part in folder.glob("*.part"):
        with suppress(FileNotFoundError):
            times.append(part.stat().st_mtime)
    return max(times)
