"""python -m benchmarks.annotations ROOT FOLDER: the cost of reading COCO's JSON with as many boxes as Objects365.

ROOT is a set in COCO's layout (annotations/instances_val2017.json, val2017). Its rows are repeated under new ids, each
object twice, until there are --boxes; the images are the same, in folders that are links. Segmentations are left out.
A separate process then reads the file like `python -m data.shards coco`, up to the records to write.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from data.records import RecordTable
from data.sources.coco import read_coco

STEP = 10_000_000  # between the ids of two copies: all of COCO's are below it


def make(root: Path, folder: Path, boxes: int) -> None:
    given = json.loads((root / "annotations" / "instances_val2017.json").read_bytes())
    for name in ("annotations", "val2017"):
        (folder / name).mkdir(parents=True)
    copies = -(-boxes // (2 * len(given["annotations"])))
    objects = [{key: value for key, value in one.items() if key != "segmentation"} for one in given["annotations"]]
    with (folder / "annotations" / "instances_val2017.json").open("w") as file:
        file.write('{"info": {}, "images": [')
        for copy in range(copies):
            (folder / "val2017" / f"{copy:06d}").symlink_to((root / "val2017").resolve())
            rows: list[dict[str, Any]] = [
                one | {"id": one["id"] + copy * STEP, "file_name": f"{copy:06d}/{one['file_name']}"}
                for one in given["images"]
            ]
            file.write(", " * (copy > 0) + json.dumps(rows)[1:-1])
        file.write('], "annotations": [')
        for copy in range(2 * copies):
            rows = [
                one | {"id": one["id"] + copy * STEP, "image_id": one["image_id"] + copy // 2 * STEP} for one in objects
            ]
            file.write(", " * (copy > 0) + json.dumps(rows)[1:-1])
        file.write(f'], "categories": {json.dumps(given["categories"])}}}')


def measure(folder: Path) -> None:
    before, began, cpu = _peak_mb(), time.perf_counter(), time.process_time()
    given = read_coco(folder, ["val2017"])
    assert isinstance(given.records, RecordTable)
    boxes = len(given.records.labels)
    peak = _peak_mb()
    print(f"{len(given.records):,} images, {boxes:,} boxes: {time.perf_counter() - began:.0f} s", end=" ")
    print(f"({time.process_time() - cpu:.0f} s of CPU), peak {peak:,.0f} MB", end=", ")
    print(f"{(peak - before) * 1e6 / boxes:.0f} bytes a box beyond the imports' {before:,.0f} MB")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.annotations", description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--boxes", type=int, default=25_400_000)
    parser.add_argument("--only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        measure(options.folder)
        return
    file = options.folder / "annotations" / "instances_val2017.json"
    if not file.exists():
        make(options.root, options.folder, options.boxes)
    print(f"{file}: {file.stat().st_size / 1e6:,.0f} MB", flush=True)
    again = [sys.executable, "-m", "benchmarks.annotations", str(options.root), str(options.folder), "--only"]
    subprocess.run(again, check=True)


if __name__ == "__main__":
    main()
