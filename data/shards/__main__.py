"""Make shards of annotated images, and inspect them.

python -m data.shards voc ROOT --split all --val 0.2 OUT     writes OUT/train and, of a fifth of the images, OUT/val
python -m data.shards voc ROOT --split 2007:trainval,2012:trainval OUT
python -m data.shards coco ROOT --split train2017 OUT
python -m data.shards yolo ROOT --split train OUT
python -m data.shards index FOLDER       make the index of tars that another program wrote
python -m data.shards verify OUT         read everything back
python -m data.shards stats OUT          counts, sizes, how anchors fit; --png draws charts
python -m data.shards show OUT SHEET.png images with their truths; --augment N: also as training sees them
"""

import argparse
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import get_args

from data.images.geometry import Resize
from data.loading.config import DataConfig
from data.records import Annotations, Findings
from data.shards.index import ShardIndex
from data.shards.summary import inspect_set, names_of, summary
from data.shards.verify import verify
from data.shards.writing.one_shard import Pixels
from data.shards.writing.scan import index_shards
from data.shards.writing.unfinished import clear
from data.shards.writing.write import SHARD_MB, Part, write_part, write_shards
from data.sources import coco, voc, yolo
from data.sources.rules.choose import Choice
from data.view.statistics.measure import measure, read_anchors
from data.view.statistics.text import table
from data.wording import counted, listed
from launch.command import run

# A new annotation format is a module like these, and a name here.
READERS = {"voc": voc, "coco": coco, "yolo": yolo}


def main(arguments: Sequence[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    if options.command == "verify":
        print(summary(verify(options.out, options.workers)))
    elif options.command == "index":
        print(summary(index_shards(options.out, names_of(options.classes), workers=options.workers)))
    elif options.command in READERS:
        print(_both_written(options) if options.val else _written(options, _read(options)))
    else:
        print(_stats(options) if options.command == "stats" else _show(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data.shards", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, reader in READERS.items():
        writing = commands.add_parser(name, help=f"{reader.TITLE} -> shards")
        reader.add_arguments(writing)
        _add_choices(writing)
    index = commands.add_parser("index", help="plain webdataset tars of jpg + json -> their index")
    index.add_argument("--classes", help="comma separated, in the order of the network's outputs; default: all")
    check = commands.add_parser("verify", help="read everything back")
    count = commands.add_parser("stats", help="what the shards hold, and what a network would see of it")
    show = commands.add_parser("show", help="a picture of some images with their truths")
    for reading in (index, check, count, show):
        reading.add_argument("out", type=Path, metavar="FOLDER")
    for command in (index, check):
        command.add_argument("--workers", type=int, default=0, help="processes; default: one for each core")
    for looking in (count, show):
        looking.add_argument("--side", type=int, default=416, help="px of the network's input")
    count.add_argument("--resize", choices=get_args(Resize), default="letterbox", help="how images become square")
    count.add_argument("--anchors", help="a config, or 1.32,1.73,3.19,4.01,...: w,h in cells of 32 px")
    count.add_argument("--png", type=Path, help="file for the charts")
    show.add_argument("sheet", type=Path, help="file for the picture: .png or .jpg")
    show.add_argument("--count", type=int, default=24, help="images")
    show.add_argument(
        "--augment", type=int, nargs="?", const=1, default=0, metavar="N", help="also show what the first N epochs see"
    )
    show.add_argument("--config", type=Path, help="a run's config: its resize and augmentation instead of the defaults")
    show.add_argument("--seed", type=int, default=0, help="seed that chooses images and augmentation")
    return parser


def _add_choices(writing: argparse.ArgumentParser) -> None:
    """Adds the options common to every annotation format."""
    add = writing.add_argument
    add("out", type=Path)
    add("--classes", help="only these, in the order of the network's outputs: a,b or '\"a,b\",c'; default: all")
    add("--keep-others", action="store_true", help="keep images that show only other classes")
    add("--count", type=int, help="only this many images: as if at random, always the same ones")
    add("--val", metavar="F|SPLIT", help="write OUT/train and OUT/val: this fraction of --split, or another split")
    add("--hold-out", type=float, metavar="F", help="leave out this fraction, by a hash of the image's name")
    add("--held-out", type=float, metavar="F", help="only what --hold-out leaves out")
    add("--drop-degenerate", action="store_true", help="leave out boxes without area instead of refusing")
    add("--drop-corrupt", action="store_true", help="leave out unreadable images instead of refusing")
    add("--max-side", type=int, metavar="PX", help="shrink larger images; result files stay in px of the original")
    add(
        "--exif",
        choices=("turn", "keep"),
        default="turn",
        help="images whose size does not tell how they were labelled",
    )
    add("--strict", action="store_true", help="refuse what is otherwise only reported")
    add("--shard-mb", type=float, default=SHARD_MB, help=f"size of a shard, {SHARD_MB}")
    add("--workers", type=int, default=0, help="processes; default: one for each core")
    add("--part", metavar="I/N", help="only part I of N, such as 3/16, while others write the rest")


def _both_written(options: argparse.Namespace) -> str:
    """Writes OUT/train and OUT/val with the same classes, or neither. Both are read before the first is written."""
    train, val = (argparse.Namespace(**{**vars(options), "out": options.out / name}) for name in ("train", "val"))
    if options.part or options.hold_out or options.held_out:
        raise ValueError("expected --val without --part, --hold-out and --held-out; leave out one or the other")
    is_fraction = re.fullmatch(r"0?\.\d+", options.val)
    if not is_fraction and re.fullmatch(r"\d*\.\d*|\d+%|[01]", options.val):
        raise ValueError(f"--val: expected a fraction such as 0.2, or a split, found {options.val!r}; correct it")
    if is_fraction:
        train.hold_out = val.held_out = float(options.val)
    else:
        val.split = options.val
    read = _read(train)
    others = _read(val, read.classes)
    lines = _written(train, read)
    try:
        return f"{lines}\n{_written(val, others)}"
    except BaseException:
        clear(train.out)
        raise


def _read(options: argparse.Namespace, classes: Sequence[str] | None = None) -> Annotations:
    choice = Choice(
        classes=classes or names_of(options.classes),
        keep_others=options.keep_others,
        count=options.count,
        hold_out=options.hold_out,
        held_out=options.held_out,
        drop_degenerate=options.drop_degenerate,
    )
    annotations: Annotations = READERS[options.command].read(options, choice)
    _refuse(options, annotations.findings)
    return annotations


def _written(options: argparse.Namespace, annotations: Annotations) -> str:
    findings = annotations.findings
    write = partial(write_part, Part.parse(options.part)) if options.part else write_shards
    index = write(
        annotations,
        options.out,
        shard_mb=options.shard_mb,
        workers=options.workers,
        drop_corrupt=options.drop_corrupt,
        pixels=Pixels(options.exif, options.max_side),
        findings=findings,
    )
    if index is None:
        return f"{options.out}: part {options.part} is written; the part that ends last makes the index"
    inspect_set(findings, index, DataConfig(train="", val="").num_slots)
    try:
        _refuse(options, findings)
    except ValueError:
        clear(options.out)
        raise
    return summary(index, findings)


def _refuse(options: argparse.Namespace, findings: Findings) -> None:
    if options.strict and findings.found:
        found = listed(findings.lines())
        raise ValueError(f"{options.root}: expected nothing doubtful, found{found}\ncorrect it, or leave out --strict")


def _stats(options: argparse.Namespace) -> str:
    anchors = read_anchors(options.anchors) if options.anchors else None
    stats = measure(ShardIndex.load(options.out), options.side, options.resize, anchors)
    if options.png:
        from data.view.figures import write  # matplotlib takes half a second
        from data.view.statistics.charts import draw

        write(draw(stats), options.png)
    return table(stats)


def _show(options: argparse.Namespace) -> str:
    from data.view.contact_sheet import read_data_config, save, sheet  # torch takes two seconds

    index = ShardIndex.load(options.out)
    config = read_data_config(options.config) if options.config else DataConfig(train="", val="")
    drawn = sheet(index, config, side=options.side, count=options.count, augmented=options.augment, seed=options.seed)
    save(drawn, options.sheet)
    return f"{counted(min(options.count, index.num_samples), 'image')} of {index.folder} -> {options.sheet}"


if __name__ == "__main__":
    sys.exit(run(main))
