"""python -m benchmarks.shards SHARDS: effects of the shard size, on a set as large as VOC 2007+2012 trainval.

The set is made of the images in SHARDS, repeated under new keys until there are 16,551. For each size it is written,
read in the order of an epoch (from the disk, then from memory) and removed. The last columns need no data: how much of
a remote set must have come before the first batch, and how well batches are mixed. They are also shown for a set as
large as COCO train2017.
"""

import argparse
import os
import tempfile
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.loading.filling.order import epoch_order
from data.records import Annotations, Record
from data.shards.index import ShardIndex
from data.shards.read import ShardReader
from data.shards.verify import verify
from data.shards.writing.write import write_shards

VOC, COCO = (16_551, 90_000), (118_287, 162_000)  # images, bytes per image
WINDOW, BATCH = 8, 64  # the defaults of a run
EPOCHS = 4


def unpacked(index: ShardIndex, folder: Path) -> list[Record]:
    arrays, records = index.arrays, []
    with ShardReader(index) as reader:
        for sample in range(index.num_samples):
            path, objects = folder / f"{sample}.jpg", index.objects(sample)
            path.write_bytes(reader.image(sample))
            columns = [arrays[name][objects] for name in ("boxes_xyxy_px", "areas_px", "labels", "difficult", "crowd")]
            records.append(Record("", index.image_id(sample), path, *index.size_px(sample), *columns))
    return records


def read_epoch(index: ShardIndex) -> float:
    """Seconds."""
    order, began = epoch_order(index.shard_sizes, 0, 0, WINDOW), time.perf_counter()
    with ShardReader(index) as reader:
        for sample in order.tolist():
            reader.image(sample)
    return time.perf_counter() - began


def forget(index: ShardIndex) -> None:
    """Drops the shards from the page cache."""
    for shard in index.shards:
        descriptor = os.open(index.folder / shard.name, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def companions_again(sizes: NDArray[np.int64], window: int) -> float:
    """Number of the BATCH - 1 others in an image's batch that were also in its batch in the previous epoch."""
    batches = np.empty((EPOCHS, sizes.sum()), np.int64)
    for epoch in range(EPOCHS):
        batches[epoch][epoch_order(sizes, 0, epoch, window)] = np.arange(sizes.sum()) // BATCH
    pairs = 0
    for before, after in pairwise(batches):
        _, together = np.unique(before * (batches.max() + 1) + after, return_counts=True)
        pairs += int((together * (together - 1)).sum())
    return pairs / batches[1:].size


def mixing(sizes: NDArray[np.int64], bytes_each: int) -> str:
    first = np.sort(sizes)[-WINDOW:].sum() * bytes_each / 1e6
    return f"{len(sizes):>7} {first:>13,.0f} {companions_again(sizes, WINDOW):>10.2f}"


def sizes_of(images: int, bytes_each: int, shard_mb: float) -> NDArray[np.int64]:
    each = int(shard_mb * 1e6) // bytes_each
    full, rest = divmod(images, each)
    return np.array([each] * full + [rest] * bool(rest))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shards", description=__doc__)
    parser.add_argument("shards", type=Path)
    parser.add_argument("--sizes", default="4,16,32,64,128,256,512", help="MB")
    parser.add_argument("--images", type=int, default=VOC[0])
    parser.add_argument("--folder", type=Path, help="on the disk to measure: takes 2 GB")
    options = parser.parse_args()
    index, sizes = ShardIndex.load(options.shards), [float(size) for size in options.sizes.split(",")]
    heading = f"{'MB':>5} {'write s':>8} {'verify s':>9} {'disk s':>7} {'memory s':>9}"
    columns = f" {'shards':>7} {'first batch MB':>13} {'again':>10}"
    print(heading + columns)
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        (Path(temporary) / "images").mkdir()
        records = unpacked(index, Path(temporary) / "images")
        again = [replace(records[n % len(records)], key=f"{n:06d}") for n in range(options.images)]
        given = Annotations("images again", index.classes, index.category_ids, again, {})
        for size in sizes:
            with tempfile.TemporaryDirectory(dir=temporary) as out:
                began = time.perf_counter()
                written = write_shards(given, Path(out), shard_mb=size)
                seconds = [time.perf_counter() - began]
                began = time.perf_counter()
                verify(Path(out))
                seconds.append(time.perf_counter() - began)
                forget(written)
                seconds += [read_epoch(written), read_epoch(written)]
                line = f"{size:>5g} {seconds[0]:>8.1f} {seconds[1]:>9.1f} {seconds[2]:>7.2f} {seconds[3]:>9.2f}"
                mean = int(written.arrays["image_bytes"].mean())
                print(f"{line} {mixing(written.shard_sizes, mean)}", flush=True)
    for size in sizes:
        print(f"{size:>5g} {'as large as COCO':>36} {mixing(sizes_of(*COCO, size), COCO[1])}", flush=True)


if __name__ == "__main__":
    main()
