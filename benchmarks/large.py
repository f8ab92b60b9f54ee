"""python -m benchmarks.large FOLDER: what a set as large as Objects365 costs a rank and its loader processes.

The set is synthetic: 1.74 million images and 25 million boxes in 8,700 shards (--images, --boxes), whose rows all show
one small picture, so that it takes little space besides its index. Made once; an existing FOLDER is used as it is. Then
processes start like those of a run: the first one verifies, the second one finds it verified. Memory is read from
smaps_rollup while 8 workers are running: private (USS), and with its share of what is mapped (PSS). The first line is
what the process takes for its imports, before it opens anything.
"""

import argparse
import hashlib
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch

from data.files import sha256, write_whole
from data.loading.config import DataConfig
from data.loading.loader import Loader
from data.shards.format.columns import COLUMNS
from data.shards.format.header import FORMAT, VERSION, seal
from data.shards.index import ShardIndex
from data.shards.writing.pack import Packing

WIDTH, HEIGHT = 96, 64  # px of the picture
SHARD_IMAGES, CLASSES = 200, 365
RANKS, BATCH = 1024, 8192
BLOCK = 500  # shards that are made together


def make(folder: Path, images: int, boxes: int) -> None:
    folder.mkdir(parents=True)
    picture = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
    sizes = [SHARD_IMAGES] * (images // SHARD_IMAGES) + [images % SHARD_IMAGES] * (images % SHARD_IMAGES > 0)
    shards = []
    for number, size in enumerate(sizes):
        name = f"shard-{number:06d}.tar"
        (folder / name).write_bytes(jpeg)
        shards.append({"name": name, "bytes": len(jpeg), "sha256": hashlib.sha256(jpeg).hexdigest(), "samples": size})
    with Packing(folder / "index.npz") as packing:
        packing.add({"object_starts": np.zeros(1, np.int64)})
        for first in range(0, len(sizes), BLOCK):
            add_rows(packing, np.array(sizes[first : first + BLOCK]), first, boxes / images, len(jpeg))
        objects = len(packing.column("labels"))
        packing.pack()
    header = {
        "format": FORMAT,
        "version": VERSION,
        "source": "made up",
        "classes": [f"class {number}" for number in range(CLASSES)],
        "category_ids": list(range(1, CLASSES + 1)),
        "images": images,
        "objects": objects,
        "difficult": 0,
        "crowd": 0,
        "dropped": {},
        "arrays_sha256": sha256(folder / "index.npz"),
        "shards": shards,
    }
    write_whole(folder / "index.json", seal(header))


def add_rows(packing: Packing, sizes: np.ndarray, first_shard: int, boxes_each: float, image_bytes: int) -> None:
    rng, count = np.random.default_rng(first_shard), int(sizes.sum())
    first = first_shard * SHARD_IMAGES
    edges = np.floor(np.arange(first, first + count + 1) * boxes_each).astype(np.int64)
    objects = int(edges[-1] - edges[0])
    corners = rng.random((objects, 4)) * [WIDTH / 2, HEIGHT / 2, WIDTH / 2, HEIGHT / 2] + [0, 0, WIDTH / 2, HEIGHT / 2]
    corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 1e-3)
    names = np.arange(first, first + count).astype("S12")
    rows = {
        "keys": np.char.add(b"k", names),
        "image_ids": names,
        "shards": np.repeat(np.arange(first_shard, first_shard + len(sizes), dtype=np.int32), sizes),
        "image_offsets": np.zeros(count, np.int64),
        "image_bytes": np.full(count, image_bytes),
        "widths": np.full(count, WIDTH),
        "heights": np.full(count, HEIGHT),
        "object_starts": edges[1:],
        "boxes_xyxy_px": corners,
        "areas_px": (corners[:, 2:] - corners[:, :2]).prod(1),
        "labels": rng.integers(0, CLASSES, objects),
        "difficult": np.zeros(objects, np.bool_),
        "crowd": np.zeros(objects, np.bool_),
    }
    packing.add(
        {
            name: column.astype(COLUMNS[name][1] if column.dtype.kind != "S" else column.dtype)
            for name, column in rows.items()
        }
    )


def memory_mb(process: int) -> tuple[float, float]:
    """Private memory, and with the share of what is mapped."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    kb = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
    return (kb["Private_Clean"] + kb["Private_Dirty"]) / 1024, kb["Pss"] / 1024


def measure(folder: Path, workers: int) -> Iterator[str]:
    """Does what a process of a run does until it has batches."""
    private, share = memory_mb(multiprocessing.current_process().pid or 0)
    yield f"imports: private {private:,.0f} MB, with its share {share:,.0f} MB"
    began = time.perf_counter()
    index = ShardIndex.load(folder)
    opened = time.perf_counter()
    config = DataConfig(train=str(folder), val="", batch=64, sides=[64], workers=workers)
    loader = Loader(index, config, seed=0, rank=0, world_size=1, device=torch.device("cpu"))
    next(loader.plans(10**9, 2 * 10**9))
    planned = time.perf_counter()
    yield f"opened in {opened - began:.2f} s, first plan after {planned - began:.2f} s"
    most = int(index.trained_per_image().max())
    yield f"objects of each image counted in {time.perf_counter() - planned:.2f} s (up to {most})"
    batches = loader.batches(0, 10**9)
    began = time.perf_counter()
    next(batches)
    yield f"first batch of {workers} workers after {time.perf_counter() - began:.1f} s"
    for _ in islice(batches, 100):
        pass
    private, share = memory_mb(multiprocessing.current_process().pid or 0)
    yield f"rank: private {private:,.0f} MB, with its share {share:,.0f} MB"
    found = [memory_mb(child.pid or 0) for child in multiprocessing.active_children()]
    private, share = np.array(found).max(0)
    yield f"worker, the largest of {len(found)}: private {private:,.0f} MB, with its share {share:,.0f} MB"


def plan_all(folder: Path) -> Iterator[str]:
    """Plans an epoch for every rank in one process, and for one rank alone."""
    index = ShardIndex.load(folder)
    config = DataConfig(train=str(folder), val="", batch=BATCH)
    loaders = [
        Loader(index, config, seed=0, rank=rank, world_size=RANKS, device=torch.device("cpu")) for rank in range(RANKS)
    ]
    began = time.perf_counter()
    steps = sum(1 for _ in loaders[5].plans(index.num_samples, 2 * index.num_samples))
    yield f"one rank of {RANKS}: an epoch of {steps:,} steps planned in {time.perf_counter() - began:.2f} s"
    for loader in loaders:
        loader.order = loaders[0].order
    began, times = time.perf_counter(), np.zeros(index.num_samples, np.uint8)
    for step in zip(*(loader.plans(0, index.num_samples) for loader in loaders), strict=True):
        samples, epochs = (np.concatenate(parts) for parts in zip(*(plan[:2] for plan in step), strict=True))
        times[samples[epochs == 0]] += 1
    assert (times == 1).all()
    yield f"all {RANKS} ranks: planned in {time.perf_counter() - began:.1f} s, each image once"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=1_740_000)
    parser.add_argument("--boxes", type=int, default=25_400_000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--only", choices=("measure", "plan"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        for line in measure(options.folder, options.workers) if options.only == "measure" else plan_all(options.folder):
            print(line, flush=True)
        return
    if not (options.folder / "index.json").exists():
        make(options.folder, options.images, options.boxes)
        time.sleep(3)  # a file just written is verified by every process
    size = (options.folder / "index.npz").stat().st_size
    print(f"{options.images:,} images, index.npz of {size / 1e6:,.0f} MB", flush=True)
    for title, only in (("first process", "measure"), ("another process", "measure"), ("plans", "plan")):
        print(f"\n{title}", flush=True)
        again = [sys.executable, "-m", "benchmarks.large", str(options.folder), f"--workers={options.workers}"]
        subprocess.run([*again, f"--only={only}"], check=True)


if __name__ == "__main__":
    main()
