"""Batches of a set whose index stays as it was mapped."""

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import TypeVar

from data.shards.index import ShardIndex

LOOK_S = 5.0  # between two looks at the file, which on a network disk may take a millisecond
T = TypeVar("T")


def while_unchanged(index: ShardIndex, items: Generator[T]) -> Iterator[T]:
    """The items. ValueError once another program has written to index.npz, in place of errors that follow from it."""
    looked = time.monotonic()
    with closing(items):
        try:
            for item in items:
                if time.monotonic() - looked > LOOK_S:
                    index.require_unchanged()
                    looked = time.monotonic()
                yield item
        except Exception:
            index.require_unchanged()
            raise
    index.require_unchanged()
