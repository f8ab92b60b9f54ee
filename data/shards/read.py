"""Image bytes by sample number, straight from the tars."""

import errno
import os
from pathlib import Path
from typing import Any

from data.shards.format.tar import BLOCK, is_header_of
from data.shards.index import ShardIndex

MAX_OPEN = 128  # shards: most systems allow a process 1,024 open files, macOS 256, and a set has thousands


class ShardReader:
    """Image bytes by sample number. Keeps shards open once read; a copy in another process opens its own."""

    def __init__(self, index: ShardIndex) -> None:
        self.index = index
        self._files: dict[int, int] = {}

    def image(self, sample: int) -> bytes:
        """The image file of a sample. ValueError if its shard does not hold it where the index says."""
        arrays = self.index.arrays
        shard, expected = int(arrays["shards"][sample]), int(arrays["image_bytes"][sample])
        try:
            data = os.pread(self._file(shard), BLOCK + expected, int(arrays["image_offsets"][sample]) - BLOCK)
        except OSError as error:  # a bad block, or a lost disk: an unreadable image like any other
            raise ValueError(f"{self.index.shards[shard].name} cannot be read: {error.strerror or error}") from None
        name, found, key = self.index.shards[shard].name, max(len(data) - BLOCK, 0), self.index.key(sample)
        if found != expected:
            raise ValueError(f"{name} ends after {found} of {expected} bytes of the image")
        if not is_header_of(data[:BLOCK], key, expected):
            raise ValueError(
                f"{name} has something else in place of the image: replaced or damaged since it was indexed"
            )
        return data[BLOCK:]

    def _file(self, shard: int) -> int:
        if shard not in self._files:
            if len(self._files) == MAX_OPEN:
                self._close_first()
            self._files[shard] = self._opened(self.index.folder / self.index.shards[shard].name)
        return self._files[shard]

    def _opened(self, path: Path) -> int:
        while True:
            try:
                return os.open(path, os.O_RDONLY)
            except OSError as error:
                if error.errno != errno.EMFILE or not self._files:
                    raise
            self._close_first()  # this process is allowed fewer

    def _close_first(self) -> None:
        os.close(self._files.pop(next(iter(self._files))))  # windows of shards come and go

    def close(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)
        self._files = {}

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"index": self.index, "_files": {}}
