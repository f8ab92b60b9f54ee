"""Make shards of annotated images, and look at them.

python -m data.shards voc ROOT --split 2007:trainval,2012:trainval OUT
python -m data.shards coco ROOT --split train2017 OUT
python -m data.shards index FOLDER       the index of tars that another program made
python -m data.shards verify OUT         read everything back
python -m data.shards stats OUT          counts, sizes, how anchors fit; --png draws charts of it
python -m data.shards show OUT SHEET.png images with their truths; --augment N: and what training makes of them
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image

from data.images.geometry import Resize
from data.loading.config import DataConfig
from data.shards.index import ShardIndex
from data.shards.scan import index_shards
from data.shards.verify import verify
from data.shards.write import SHARD_MB, write_shards
from data.sources.coco import read_coco
from data.sources.voc import read_voc
from data.view.contact_sheet import read_data_config, sheet
from data.view.figures import write
from data.view.statistics import measure, read_anchors
from data.view.statistics_charts import draw
from data.view.statistics_text import table
from launch.command import run


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m data.shards", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    voc = commands.add_parser("voc", help="Pascal VOC folders -> shards")
    voc.add_argument("root", type=Path, help="VOCdevkit, or one folder with Annotations, ImageSets and JPEGImages")
    voc.add_argument(
        "--split", required=True, help="2007:trainval,2012:trainval; without a year ROOT is the year folder"
    )
    voc.add_argument("--drop-degenerate", action="store_true", help="leave out boxes without area instead of refusing")
    coco = commands.add_parser("coco", help="COCO's instances JSON and images -> shards")
    coco.add_argument("root", type=Path, help="the folder that has annotations/instances_SPLIT.json and SPLIT")
    coco.add_argument(
        "--split", required=True, help="train2017,... or JSON:FOLDER, both under ROOT, for files that lie elsewhere"
    )
    coco.add_argument("--count", type=int, help="only so many images: as if at random, always the same ones")
    coco.add_argument("--keep-others", action="store_true", help="keep images that show none of --classes but others")
    for writing in (voc, coco):
        writing.add_argument("out", type=Path)
        writing.add_argument("--drop-corrupt", action="store_true", help="leave out unreadable images, don't refuse")
        writing.add_argument("--shard-mb", type=float, default=SHARD_MB, help=f"size of a shard, {SHARD_MB}")
    index = commands.add_parser("index", help="plain webdataset tars of jpg + json -> their index")
    for naming in (voc, coco, index):
        naming.add_argument(
            "--classes", help="comma separated, in the order of the network's outputs; default: all there are"
        )
    check = commands.add_parser("verify", help="read everything back")
    count = commands.add_parser("stats", help="what is in the shards, and what a network would see of it")
    show = commands.add_parser("show", help="a picture of some images with their truths on them")
    count.add_argument("--resize", choices=get_args(Resize), default="letterbox", help="how images get square")
    count.add_argument("--anchors", help="a config, or 1.32,1.73,3.19,4.01,...: w,h in cells of 32 px")
    count.add_argument("--png", type=Path, help="file for the charts")
    for reading in (index, check, count, show):
        reading.add_argument("out", type=Path, metavar="FOLDER")
    show.add_argument("sheet", type=Path, help="file for the picture: .png or .jpg")
    show.add_argument("--count", type=int, default=24, help="images")
    show.add_argument(
        "--augment", type=int, nargs="?", const=1, default=0, metavar="N", help="and what the first N epochs see"
    )
    show.add_argument("--config", type=Path, help="a run's config: its resize and augmentation instead of the defaults")
    show.add_argument("--seed", type=int, default=0, help="which images, and how augmentation falls out")
    for looking in (count, show):
        looking.add_argument("--side", type=int, default=416, help="px of the network's input")
    for command in (voc, coco, index, check):
        command.add_argument("--workers", type=int, default=0, help="processes; default: one for each core")
    options = parser.parse_args(arguments)
    print(_run(options))


def _run(options: argparse.Namespace) -> str:
    if options.command == "stats":
        return _stats(options)
    if options.command == "show":
        return _show(options)
    return summary(_index(options))


def _index(options: argparse.Namespace) -> ShardIndex:
    if options.command == "verify":
        return verify(options.out, options.workers)
    classes = options.classes.split(",") if options.classes else None
    if options.command == "index":
        return index_shards(options.out, classes, options.workers)
    splits = options.split.split(",")
    if options.command == "coco":
        annotations = read_coco(options.root, splits, classes, count=options.count, keep_others=options.keep_others)
    else:
        annotations = read_voc(options.root, splits, classes, drop_degenerate=options.drop_degenerate)
    return write_shards(
        annotations, options.out, shard_mb=options.shard_mb, workers=options.workers, drop_corrupt=options.drop_corrupt
    )


def _stats(options: argparse.Namespace) -> str:
    anchors = read_anchors(options.anchors) if options.anchors else None
    stats = measure(ShardIndex.load(options.out), options.side, options.resize, anchors)
    if options.png:
        write(draw(stats), options.png)
    return table(stats)


def _show(options: argparse.Namespace) -> str:
    index = ShardIndex.load(options.out)
    config = read_data_config(options.config) if options.config else DataConfig(train="", val="")
    drawn = sheet(index, config, side=options.side, count=options.count, augmented=options.augment, seed=options.seed)
    Image.fromarray(drawn).save(options.sheet, quality=92)
    return f"{min(options.count, index.num_samples)} images of {index.folder} -> {options.sheet}"


def summary(index: ShardIndex) -> str:
    counts = np.bincount(index.arrays["labels"], minlength=len(index.classes))
    marked = [f"{int(index.arrays[name].sum())} {name}" for name in ("difficult", "crowd")]
    lines = [f"{index.folder}: {index.num_samples} images, {counts.sum()} objects ({', '.join(marked)})"]
    lines[0] += f" in {len(index.shards)} shards, from {index.source}"
    lines += [f"  left out: {number} {reason}" for reason, number in index.dropped.items() if number]
    lines += [f"  {name:<20} {count:>8}" for name, count in zip(index.classes, counts, strict=True)]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run(main))
