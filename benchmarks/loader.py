"""python -m benchmarks.loader [SHARDS]: the cost of an image from shard to training batch, in CPU time.

Each case runs in its own processes, in turn with the others, for several rounds: compare the ratios within one run. An
image's cost is the CPU time of all processes of the case between two marks of a running pipeline, so that start-up and
other load hardly count. Without SHARDS pictures are drawn; photographs are more realistic.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from multiprocessing import Process
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

import data.loading.loader
from data.images.augment import AugmentConfig, random_colour, random_placement
from data.images.boxes import clip_boxes
from data.images.colour import distort_colour
from data.images.files.decode import decode
from data.images.geometry import place_boxes, place_image
from data.loading.batch import truth_slots
from data.loading.config import DataConfig
from data.loading.handover.to_device import Transfer
from data.loading.loader import Loader
from data.shards.index import ShardIndex
from data.shards.read import ShardReader
from data.shards.writing.write import write_shards
from data.sources.shapes import draw_voc
from data.sources.voc import read_voc
from launch.processes.environment import connect

SIDE = 416
BATCH = 64  # the default of the configs
SLOTS = 50
CPU = torch.device("cpu")


def decode_only(index: ShardIndex, workers: int, _: Path) -> Iterator[int]:
    """The limit: JPEG bytes from the shards, decoded into the same memory every time, and nothing else."""
    done = RawArray("L", workers)
    for number in range(1, workers):
        Process(target=decode_for_ever, args=(index, done, number), daemon=True).start()
    yielded = 0
    for _ in decoding(index, done, 0):
        yield sum(done) - yielded
        yielded = sum(done)


def decode_for_ever(index: ShardIndex, done: Any, number: int) -> None:
    for _ in decoding(index, done, number):
        pass


def decoding(index: ShardIndex, done: Any, number: int) -> Iterator[None]:
    largest = int((index.arrays["widths"].astype(np.int64) * index.arrays["heights"]).max())
    room = np.empty(largest * 3, np.uint8)
    with ShardReader(index) as reader:
        for sample in cycle(range(index.num_samples)):
            width, height = index.size_px(sample)
            decode(reader.image(sample), room[: width * height * 3].reshape(height, width, 3))
            done[number] += 1
            yield


class HandedOver(Transfer):
    """A transfer as on CUDA: the device copies a batch from its slot, not a CPU core."""

    def _copied(self, *arrays: np.ndarray[Any, Any]) -> list[torch.Tensor]:
        return [torch.from_numpy(array) for array in arrays]


def ours(on_device: bool = False, **options: Any) -> Callable[[ShardIndex, int, Path], Iterator[int]]:
    def run(index: ShardIndex, workers: int, folder: Path) -> Iterator[int]:
        data.loading.loader.Transfer = HandedOver if on_device else Transfer  # type: ignore[misc]
        if "decoded_cache" in options:
            options["decoded_cache"] = str(folder / "decoded")
        config = DataConfig(train="", val="", batch=BATCH, sides=[SIDE], workers=workers, **options)
        for batch in Loader(index, config, seed=0, rank=0, world_size=1, device=CPU).batches(0, 10**9):
            yield len(batch.samples)

    return run


class Files(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """A file for each image, PIL, float tensors: how most reimplementations read."""

    def __init__(self, index: ShardIndex, folder: Path) -> None:
        self.index, self.folder = index, folder

    def __len__(self) -> int:
        return self.index.num_samples

    def __getitem__(self, sample: int) -> tuple[torch.Tensor, torch.Tensor]:
        from PIL import Image

        rng = np.random.default_rng()
        image = Image.open(self.folder / f"{sample}.jpg").convert("RGB")
        placement = random_placement(*image.size, SIDE, AugmentConfig(), rng)
        canvas = Image.new("RGB", (SIDE, SIDE), (128, 128, 128))
        x1, y1, x2, y2 = placement.target
        canvas.paste(image.crop(placement.source).resize((x2 - x1, y2 - y1), Image.Resampling.BILINEAR), (x1, y1))
        if placement.flip:
            canvas = canvas.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        shift, saturation, exposure = random_colour(AugmentConfig(), rng)
        hue, sat, value = canvas.convert("HSV").split()
        hue = hue.point([int(level + shift * 255) % 256 for level in range(256)])
        sat = sat.point([min(255, int(level * saturation)) for level in range(256)])
        value = value.point([min(255, int(level * exposure)) for level in range(256)])
        canvas = Image.merge("HSV", (hue, sat, value)).convert("RGB")
        pixels = torch.from_numpy(np.array(canvas)).permute(2, 0, 1).float() / 255
        return pixels, torch.from_numpy(truths_of(self.index, sample, placement))


def truths_of(index: ShardIndex, sample: int, placement: Any) -> np.ndarray[Any, Any]:
    objects = index.objects(sample)
    boxes, kept = clip_boxes(place_boxes(index.arrays["boxes_xyxy_px"][objects], placement, SIDE), 0.001)
    return truth_slots(boxes[kept], index.arrays["labels"][objects][kept], SLOTS)


def plain_files(index: ShardIndex, workers: int, folder: Path) -> Iterator[int]:
    if not (folder / "files").exists():
        (folder / "files").mkdir()
        with ShardReader(index) as reader:
            for sample in range(index.num_samples):
                (folder / "files" / f"{sample}.jpg").write_bytes(reader.image(sample))
    while True:
        dataset = Files(index, folder / "files")
        for images, _ in DataLoader(dataset, BATCH, shuffle=True, num_workers=workers, drop_last=True):
            yield len(images)


def webdataset_pipeline(index: ShardIndex, workers: int, _: Path) -> Iterator[int]:
    """The library's own reading, shuffling and batching, with this project's decoder and transforms."""
    import webdataset

    label_of = {name: label for label, name in enumerate(index.classes)}

    def sample_of(raw: dict[str, Any]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        rng = np.random.default_rng()
        image, note = decode(raw["jpg"]), json.loads(raw["json"])
        placement = random_placement(note["width"], note["height"], SIDE, AugmentConfig(), rng)
        canvas = np.empty((SIDE, SIDE, 3), np.uint8)
        place_image(image, placement, canvas)
        distort_colour(canvas, random_colour(AugmentConfig(), rng))
        placed = place_boxes(np.array(note["boxes_xyxy_px"]).reshape(-1, 4), placement, SIDE)
        boxes, kept = clip_boxes(placed, 0.001)
        labels = np.array([label_of[name] for name in note["labels"]], np.int64)
        return canvas, truth_slots(boxes[kept], labels[kept], SLOTS)

    urls = [str(index.folder / shard.name) for shard in index.shards]
    dataset = webdataset.WebDataset(urls, shardshuffle=100, empty_check=False).shuffle(1000).map(sample_of)
    while True:
        loader = webdataset.WebLoader(dataset.batched(BATCH), batch_size=None, num_workers=min(workers, len(urls)))
        for images, _ in loader:
            yield len(images)


CASES: dict[str, Callable[[ShardIndex, int, Path], Iterator[int]]] = {
    "decode only": decode_only,
    "ours, all on the CPU": ours(colour="workers"),
    "ours, colour on the device": ours(True, colour="device"),
    "ours, all on the CPU, each a mosaic": ours(colour="workers", augment=AugmentConfig(mosaic=1)),
    "ours, mosaic, colour on the device": ours(True, colour="device", augment=AugmentConfig(mosaic=1)),
    "ours, geometry and colour on the device": ours(True, geometry="device"),
    "ours, decoded cache, colour on the device": ours(True, colour="device", decoded_cache=""),
    "ours, decoded cache, geometry on the device": ours(True, geometry="device", decoded_cache=""),
    "webdataset's pipeline, same transforms": webdataset_pipeline,
    "files, PIL, float tensors": plain_files,
}


def cpu_seconds() -> float:
    """CPU seconds of all processes of this process group, whatever their parents."""
    group, ticks = str(os.getpgrp()), 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        if fields[2] == group:
            ticks += sum(map(int, fields[11:15]))  # its own, and its ended children's
    return ticks / os.sysconf("SC_CLK_TCK")


def measure(case: str, index: ShardIndex, workers: int, images: int, folder: Path) -> tuple[float, float]:
    """CPU seconds and wall seconds per image."""
    counts = CASES[case](index, workers, folder)
    warm = index.num_samples if "cache" in case else images // 4
    seen = 0
    while seen < warm:
        seen += next(counts)
    seen, cpu, wall = 0, cpu_seconds(), time.perf_counter()
    while seen < images:
        seen += next(counts)
    return (cpu_seconds() - cpu) / seen, (time.perf_counter() - wall) / seen


def table(rows: dict[tuple[str, int], list[tuple[float, float]]]) -> str:
    heading = f"{'case':<42} {'workers':>7} {'CPU ms/image':>20} {'images/s/core':>13} {'of decode':>9}"
    lines = [f"{heading} {'images/s (least..most)':>25}"]
    for (case, workers), found in rows.items():
        cpus, walls = zip(*found, strict=True)
        cpu, rate = statistics.median(cpus), 1 / statistics.median(walls)
        limit = statistics.median(cpu for cpu, _ in rows["decode only", workers])
        spread = f"{1e3 * cpu:.2f} ({1e3 * min(cpus):.2f}..{1e3 * max(cpus):.2f})"
        rates = f"{rate:.0f} ({1 / max(walls):.0f}..{1 / min(walls):.0f})"
        lines.append(f"{case:<42} {workers:>7} {spread:>20} {1 / cpu:>13.0f} {limit / cpu:>9.0%} {rates:>25}")
    lines.append(f"medians (least..most); {SIDE} px, batch {BATCH}; decode only: in as many processes")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.loader", description=__doc__)
    parser.add_argument("shards", type=Path, nargs="?")
    parser.add_argument("--workers", type=int, nargs="+", default=[2], help="1 2 measures every case with 1 and 2")
    parser.add_argument("--images", type=int, default=1600, help="measured in each round of a case")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="part of the names of cases")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        index = ShardIndex.load(options.shards)
        with connect():  # as in a run: it makes freed memory be kept
            print(*measure(options.case, index, *options.workers, options.images, options.folder))
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as temporary:
        folder, shards = Path(temporary), options.shards
        if shards is None:
            shards = folder / "shards"
            draw_voc(folder / "drawn", train=400, val=1, seed=0)
            write_shards(read_voc(folder / "drawn", ["2007:train"]), shards, shard_mb=4)
        rows: dict[tuple[str, int], list[tuple[float, float]]] = {
            (case, workers): []
            for case in CASES
            if not options.only or options.only in case or case == "decode only"
            for workers in options.workers
        }
        for _ in range(options.rounds):
            for (case, workers), found in rows.items():
                sizes = [f"--workers={workers}", f"--images={options.images}", f"--folder={folder}"]
                command = [sys.executable, "-m", "benchmarks.loader", str(shards), *sizes, "--case", case]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, start_new_session=True)
                cpu, wall = map(float, done.stdout.split())
                found.append((cpu, wall))
    print(table(rows))
    if options.json:
        found = [{"case": case, "workers": workers, "cpu_wall_s": each} for (case, workers), each in rows.items()]
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
