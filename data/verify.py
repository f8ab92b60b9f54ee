"""A set of shards read back whole: digests, every row of the index, every image decoded."""

from pathlib import Path

import numpy as np

from data.decode import decode
from data.index import ShardIndex, ShardReader, scan_shard, sha256
from data.parallel import in_parallel
from data.write import labels_of

NUM_LISTED = 20
OF_SAMPLES = ("keys", "image_ids", "image_offsets", "image_bytes", "widths", "heights")
OF_OBJECTS = ("boxes_xyxy_px", "areas_px", "difficult", "crowd")


def verify(folder: Path, workers: int = 0) -> ShardIndex:
    """ValueError lists the faults."""
    index = ShardIndex.load(folder)
    jobs = [(index, number) for number in range(len(index.shards))]
    faults = sorted(fault for found in in_parallel(_verify_shard, jobs, workers, "verifying") for fault in found)
    if faults:
        listing = "\n  ".join([*faults[:NUM_LISTED], *(["..."] if len(faults) > NUM_LISTED else [])])
        raise ValueError(f"{folder}: {len(faults)} faults\n  {listing}")
    return index


def _verify_shard(index: ShardIndex, number: int) -> list[str]:
    shard = index.shards[number]
    path = index.folder / shard.name
    if sha256(path) != shard.sha256:
        return [f"{path.name}: its bytes are not those that were written (sha256 differs); copy it again"]
    scan = scan_shard(path)
    first = int(index.shard_sizes[:number].sum())
    samples = slice(first, first + shard.samples)
    starts = index.arrays["object_starts"]
    objects = slice(int(starts[samples.start]), int(starts[samples.stop]))
    found = {name: (scan.columns[name], index.arrays[name][samples]) for name in OF_SAMPLES}
    found |= {name: (scan.columns[name], index.arrays[name][objects]) for name in OF_OBJECTS}
    found["labels"] = labels_of(scan, index.classes), index.arrays["labels"][objects]
    found["object_starts"] = (
        np.cumsum(scan.columns["object_counts"]),
        starts[first + 1 : samples.stop + 1] - objects.start,
    )
    for name, (in_tar, in_index) in found.items():
        if not np.array_equal(in_tar, in_index):
            return [f"{path.name}: column {name} of index.npz does not describe this tar; make the shards again"]
    faults = []
    with ShardReader(index) as reader:
        for sample in range(samples.start, samples.stop):
            try:
                height, width = decode(reader.image(sample)).shape[:2]
                if (width, height) != index.size_px(sample):
                    faults.append(
                        f"{path.name}/{index.key(sample)}: {width}x{height} px, index {index.size_px(sample)}"
                    )
            except ValueError as error:
                faults.append(f"{path.name}/{index.key(sample)}: {error}")
    return faults
