"""Checks whether the sets of a run are those of its last start: RUN/sets.json has their digests."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from data.files import write_whole
from data.shards.index import ShardIndex
from train.run.checkpoint_files import has_checkpoints

NAME = "sets.json"
EFFECTS = {
    "train": "training continues at this position of their order",
    "val": "the best so far keeps the mAP it had on the others",
}


def changed_sets(run: Path, sets: Mapping[str, ShardIndex]) -> list[str]:
    """A sentence for each set with other bytes than at the last start. sets: {key: index}."""
    if not has_checkpoints(run / "checkpoints"):
        return []  # nothing has been trained
    before = _saved(run)
    return [
        f"data.{name}: {index.folder} holds other shards than at the last start "
        f"(images then {before[name]['images']:,}, now {index.num_samples:,}); {EFFECTS[name]}"
        for name, index in sets.items()
        if name in before and before[name]["digest"] != index.digest
    ]


def save_sets(run: Path, sets: Mapping[str, ShardIndex]) -> None:
    """Saves the digests, for the next start."""
    digests = {name: {"digest": index.digest, "images": index.num_samples} for name, index in sets.items()}
    write_whole(run / NAME, json.dumps(digests, indent=1) + "\n")


def _saved(run: Path) -> dict[str, dict[str, object]]:
    """The saved digests, if they are this program's."""
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
        if not (run / NAME).is_file():  # reading a pipe may never end
            return {}
        found = json.loads((run / NAME).read_text(encoding="utf-8"))
        return {name: {"digest": str(each["digest"]), "images": int(each["images"])} for name, each in found.items()}
    return {}
