"""What two sets have in common that they should not."""

from data.records import NUM_EXAMPLES
from data.shards.index import ShardIndex
from data.shards.summary import duplicates


def shared_images(train: ShardIndex, val: ShardIndex) -> str | None:
    """Images that are in both, by their bytes, whatever they are called; None where there are none.

    Reads images of equal length and size in px alone: ValueError or OSError where their shards are not there.
    """
    same = duplicates(val, train)
    if not same:
        return None
    pairs = sorted(f"{val.image_id(mine)} = {train.image_id(theirs)}" for mine, theirs in same)
    shown = ", ".join(pairs[:NUM_EXAMPLES])
    return (
        f"{len(same):,} of {val.num_samples:,} images of {val.folder} are, byte for byte, in {train.folder} too "
        f"({shown}{', ...' if len(same) > NUM_EXAMPLES else ''}): their scores are of what was learned by heart"
    )
