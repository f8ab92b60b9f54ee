"""python -m data.remote ADDRESS STAGING: brings a whole set of shards, without training."""

import sys

from data.remote.remote_set import open_remote
from data.remote.staging import Staging, Wanted, wait_for


def main(address: str, staging: str) -> None:
    try:
        index = open_remote(address, staging)
        with Staging([Wanted(address, index, range(len(index.shards)))]):
            for shard in index.shards:
                wait_for(index.folder / shard.name)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(index.folder)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("error: expected python -m data.remote ADDRESS STAGING")
    main(*sys.argv[1:])
