"""python -m benchmarks.overfit SHARDS [--variants yolov2 ...] [--side 192] [key=value ...]: overfits eight pictures.

The first check of a network, its loss and its training: a few pictures, without augmentation, must be learned exactly.
Each variant trains at its full width from random weights on the first eight images of SHARDS, with the recipe
`scratch`, until mAP@.5 on these images is 1 or time is up.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.learning import evaluations
from benchmarks.shards import unpacked
from data.records import Annotations
from data.shards.index import ShardIndex
from data.shards.writing.write import write_shards
from launch.command import run
from train.graph.variants import VARIANTS

PICTURES, MINUTES = 8, 2.0
CONFIG = """
run: {folder}/run
recipe: scratch
epochs: {epochs}
data:
  train: {folder}/few
  val: {folder}/few
  batch: 8
  sides: [{side}]
  workers: 0
  augment: {{jitter: 0, flip: 0, hue: 0, saturation: 1, exposure: 1}}
model: {{variant: {variant}}}
schedule: {{rate: 1.0e-3}}
step: {{ema: 3 %}}
evaluate: {{side: {side}, batch: 8, pictures: 0, every_epochs: 20}}
"""
EPOCHS = 120


def first_images(shards: Path, folder: Path) -> None:
    index = ShardIndex.load(shards)
    records = [replace(record, key=f"{n}") for n, record in enumerate(unpacked(index, folder)[:PICTURES])]
    write_shards(Annotations(index.source, index.classes, index.category_ids, records, {}), folder / "few", workers=1)


def learn(variant: str, side: int, folder: Path, overrides: Sequence[str]) -> tuple[float, float, int]:
    """Seconds until the best mAP was measured, that mAP, and the images seen by then."""
    config, began = folder / "few.yaml", time.perf_counter()
    config.write_text(CONFIG.format(folder=folder, side=side, variant=variant, epochs=EPOCHS))
    trainer = subprocess.Popen([sys.executable, "train/main.py", str(config), *overrides], stdout=subprocess.DEVNULL)
    best, at_s, images = -1.0, 0.0, 0
    while (ended := trainer.poll() is not None) or time.perf_counter() - began < 60 * MINUTES:
        for row in evaluations(folder / "run"):
            if float(row["mAP"]) > best:
                best, images, at_s = float(row["mAP"]), int(row["images"]), time.perf_counter() - began
        if ended or best == 1:
            break
        time.sleep(0.2)
    trainer.kill()
    trainer.wait()
    return at_s, best, images


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overfit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shards", type=Path, metavar="SHARDS")
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--side", type=int, default=192)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args(arguments)
    print("| variant | mAP@.5 | after images | seconds |\n| --- | --- | --- | --- |")
    for variant in options.variants:
        with tempfile.TemporaryDirectory() as folder:
            first_images(options.shards, Path(folder))
            seconds, best, images = learn(variant, options.side, Path(folder), options.overrides)
        print(f"| {variant} | {best:.4f} | {images:,} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    sys.exit(run(main))
