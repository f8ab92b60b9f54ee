"""Draws pictures and shards them if they are missing: what the demo trains on."""

from dataclasses import dataclass
from pathlib import Path

from data.files import locked_folder
from data.shards.writing.write import write_shards
from data.sources.drawn_picture import CLASSES
from data.sources.rules.choose import Choice
from data.sources.shapes import draw_voc, is_drawn
from data.sources.voc import read_voc


@dataclass(frozen=True, kw_only=True)
class DrawnConfig:
    """The section `drawn`: if `data.train` and `data.val` are missing, they are drawn and sharded before the run."""

    pictures: str  #: folder for the drawn VOCdevkit
    train: int = 1000  #: [pictures] to draw for `data.train`
    val: int = 200  #: [pictures] to draw for `data.val`
    seed: int = 0  #: [number] seed of the drawn pictures
    shard_mb: float = 4.0  #: [MB] of one shard


def draw_shards(config: DrawnConfig, train: str, val: str) -> None:
    """Draws and writes both sets. If two runs need the same ones, one makes them and the other waits."""
    root = Path(config.pictures)
    splits = [(name, Path(out)) for name, out in (("train", train), ("val", val))]
    if all((out / "index.json").exists() for _, out in splits):
        return
    root.mkdir(parents=True, exist_ok=True)
    with locked_folder(root, "is drawing the set of a run", wait=True):
        for split, out in splits:
            if (out / "index.json").exists():
                continue
            if not is_drawn(root):
                draw_voc(root, train=config.train, val=config.val, seed=config.seed)
            annotations = read_voc(root, [f"2007:{split}"], Choice(classes=CLASSES))
            write_shards(annotations, out, shard_mb=config.shard_mb)
