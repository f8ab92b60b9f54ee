"""Finds what two sets share though they should not."""

from data.records import NUM_EXAMPLES
from data.shards.index import ShardIndex
from data.shards.summary import duplicates
from data.wording import counted


def shared_images(train: ShardIndex, val: ShardIndex) -> str | None:
    """A sentence on images that are in both sets, by their bytes, not their names; None if there are none.

    Reads only images of equal length and size in px: ValueError or OSError if their shards are missing.
    """
    same = duplicates(val, train)
    if not same:
        return None
    pairs = sorted(f"{val.image_id(mine)} = {train.image_id(theirs)}" for mine, theirs in same)
    shown = ", ".join(pairs[:NUM_EXAMPLES])
    return (
        f"{counted(len(same), 'image')} of {val.num_samples:,} in {val.folder}, byte for byte, also in {train.folder} "
        f"({shown}{', ...' if len(same) > NUM_EXAMPLES else ''}): their scores would be for memorized images"
    )
