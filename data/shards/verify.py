"""Reads a whole set of shards back: digests, every row of the index, every image decoded."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.files import sha256
from data.images.files.decode import decode
from data.parallel import in_parallel
from data.shards.format.columns import COLUMNS, SHRUNK
from data.shards.index import ShardIndex
from data.shards.read import ShardReader
from data.shards.writing.scan import labels_of, scan_shard
from data.wording import counted, listed


def verify(folder: Path, workers: int = 0) -> ShardIndex:
    """Verifies a set; ValueError lists the faults."""
    index = ShardIndex.load(folder)
    jobs = [(index, number) for number in range(len(index.shards))]
    faults = sorted(fault for found in in_parallel(_verify_shard, jobs, workers, "verifying") for fault in found)
    if faults:
        raise ValueError(f"{folder}: {counted(len(faults), 'fault')}{listed(faults)}")
    return index


def _verify_shard(index: ShardIndex, number: int) -> list[str]:
    shard, first = index.shards[number], int(index.shard_sizes[:number].sum())
    path = index.folder / shard.name
    if sha256(path) != shard.sha256:
        return [f"{path.name}: its bytes are not those that were written (sha256 differs); copy it again"]
    scan = scan_shard(path)
    found = scan.columns | {
        "labels": labels_of(scan, index.classes),
        "object_starts": np.concatenate([[0], np.cumsum(scan.columns["object_counts"])]),
    }
    samples = range(first, first + shard.samples)
    for name, column in _rows(index, slice(first, samples.stop)).items():
        if not np.array_equal(found[name], column):
            return [f"{path.name}: column {name} of index.npz does not describe this tar; make the shards again"]
    faults = []
    with ShardReader(index) as reader:
        for sample in samples:
            try:
                height, width = decode(reader.image(sample)).shape[:2]
                if (width, height) != index.size_px(sample):
                    faults.append(
                        f"{path.name}/{index.key(sample)}: {width}x{height} px, index {index.size_px(sample)}"
                    )
            except ValueError as error:
                faults.append(f"{path.name}/{index.key(sample)}: {error}")
    return faults


def _rows(index: ShardIndex, samples: slice) -> dict[str, NDArray[Any]]:
    """Rows of these samples and of their objects, counted from the first sample's first object."""
    starts = index.arrays["object_starts"][samples.start : samples.stop + 1]
    objects = slice(int(starts[0]), int(starts[-1]))
    kinds = {name: kind for name, kind in (COLUMNS | SHRUNK).items() if name in index.arrays and name != "shards"}
    rows = {name: index.arrays[name][samples if shape == "N" else objects] for name, (shape, _) in kinds.items()}
    return rows | {"object_starts": starts - starts[0]}
