"""Drawn pictures all the way to shards, where they are absent: what the demo trains on."""

from dataclasses import dataclass
from pathlib import Path

from data.shards.write import write_shards
from data.sources.shapes import CLASSES, draw_voc
from data.sources.voc import read_voc


@dataclass(frozen=True, kw_only=True)
class DrawnConfig:
    """With this section in a config, `data.train` and `data.val` are drawn and sharded before the run where absent."""

    pictures: str  #: folder for the VOCdevkit that is drawn
    train: int = 1000
    val: int = 200
    seed: int = 0
    shard_mb: float = 4.0


def draw_shards(config: DrawnConfig, train: str, val: str) -> None:
    for split, out in (("train", Path(train)), ("val", Path(val))):
        if (out / "index.json").exists():
            continue
        root = Path(config.pictures)
        if not (root / "VOC2007" / "ImageSets" / "Main" / "val.txt").exists():
            draw_voc(root, train=config.train, val=config.val, seed=config.seed)
        write_shards(read_voc(root, [f"2007:{split}"], CLASSES), out, shard_mb=config.shard_mb)
