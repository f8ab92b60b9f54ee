"""Opens the sets of shards that a config names: their index at once, their shards through staging."""

from pathlib import Path

from data.loading.loader import Loader
from data.remote.addresses import is_remote
from data.remote.remote_set import open_remote
from data.remote.staging import Staging, Wanted
from data.shards.index import ShardIndex
from data.wording import in_words
from launch.redact import redacted


def open_shards(address: str, classes: list[str] | None, staging: str | None) -> ShardIndex:
    """The index of a local or remote set. ValueError if its classes are not those given, in their order."""
    index = open_remote(address, staging) if is_remote(address) else ShardIndex.load(Path(address))
    if classes is not None and tuple(classes) != index.classes:
        found = f"the classes {in_words(index.classes)}" if index.classes else "no classes"
        raise ValueError(
            f"the shards at {redacted(address)} hold {found}; expected {in_words(classes)}, as "
            "data.classes or the training shards say: correct the config, or make the shards with these --classes"
        )
    return index


def staged(train: Loader, val: Loader, start: int) -> Staging:
    """Fetches remote shards in the order in which training from this position needs them."""
    now, after = train.order.shards_from(start)
    return Staging(
        [
            Wanted(train.config.train, train.index, now),
            Wanted(val.config.val, val.index, range(len(val.index.shards))),
            Wanted(train.config.train, train.index, after),
        ]
    )
