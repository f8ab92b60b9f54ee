"""A lock on a folder, among the processes of one machine."""

import fcntl
import time
from pathlib import Path
from typing import IO, Any

LOCK = "staging.lock"


class FolderLock:
    """The right to write into a folder, for one process at a time. The kernel releases it when the process dies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: IO[Any] | None = None

    def acquire(self) -> bool:
        self._file = self._locked(fcntl.LOCK_EX)
        return self._file is not None

    def release(self) -> None:
        if self._file is not None:
            self._file.close()

    def is_held(self) -> bool:
        """Whether any process holds it."""
        if not (self.folder / LOCK).exists():
            return False
        file = self._locked(fcntl.LOCK_SH)
        if file is not None:
            file.close()
        return file is None

    def _locked(self, kind: int) -> IO[Any] | None:
        file = (self.folder / LOCK).open("a")
        for pause_s in (0.01, 0):  # another process may only be testing whether it is held
            try:
                fcntl.flock(file, kind | fcntl.LOCK_NB)
                return file
            except BlockingIOError:
                time.sleep(pause_s)
            except OSError as error:
                file.close()
                raise ValueError(
                    f"{file.name} cannot be locked ({error}); choose a disk of this machine as data.staging"
                ) from None
        file.close()
        return None
