"""python -m data.remote ADDRESS STAGING: downloads a whole set of shards, without training."""

import sys
from collections.abc import Sequence

from data.remote.arrivals import wait_for
from data.remote.remote_set import open_remote
from data.remote.staging import Staging, Wanted
from launch.command import run


def main(words: Sequence[str]) -> None:
    if len(words) != 2:
        raise ValueError("expected python -m data.remote ADDRESS STAGING")
    address, staging = words
    index = open_remote(address, staging)
    with Staging([Wanted(address, index, range(len(index.shards)))]):
        for shard in index.shards:
            wait_for(index.folder / shard.name)
    print(index.folder)


if __name__ == "__main__":
    sys.exit(run(main, lambda: __doc__ or ""))
