"""Pictures to train on without a network: given, at hand, or drawn."""

import tarfile
from pathlib import Path
from typing import NamedTuple

from benchmarks.gpu import ROOT, Machine
from data.demo import DrawnConfig, draw_shards
from data.shards.index import ShardIndex

ARCHIVES = (ROOT.parent / "shared/data/bccd.tar", ROOT / "shared/data/bccd.tar")
BLOOD_CELLS = ["--drop-degenerate", "--classes=Platelets,RBC,WBC"]


class Pictures(NamedTuple):
    what: str
    train: str
    val: str
    num_images: int  #: to train on


def find_pictures(machine: Machine) -> Pictures:
    """The pictures, the same at every call."""
    shards = machine.out / "shards"
    if machine.train and machine.val:
        return _of(f"{machine.train}, as given", machine.train, machine.val)
    bccd = ROOT / "datasets/bccd"
    if not machine.dry and (bccd / "train").is_dir() and (bccd / "test").is_dir():
        return _of("BCCD", str(bccd / "train"), str(bccd / "test"))
    archive = next((path for path in ARCHIVES if path.exists()), None)
    if machine.dry or archive is None:
        sizes = {"train": 24, "val": 8} if machine.dry else {"train": 800, "val": 100}
        drawn = DrawnConfig(pictures=str(machine.out / "drawn"), **sizes)
        draw_shards(drawn, str(shards / "train"), str(shards / "val"))
        return _of("drawn: these figures are not those of photographs", shards / "train", shards / "val")
    if not (shards / "val").is_dir():
        _unpack(machine, archive)
    return _of("BCCD", shards / "train", shards / "val")


def _of(what: str, train: str | Path, val: str | Path) -> Pictures:
    count = ShardIndex.load(Path(train)).num_samples
    return Pictures(f"{what}, {count} to train on", str(train), str(val), count)


def _unpack(machine: Machine, archive: Path) -> None:
    with tarfile.open(archive) as tar:
        tar.extractall(machine.out / "pictures", filter="data")
    for split, name in (("trainval", "train"), ("test", "val")):
        words = ["-m", "data.shards", "voc", machine.out / "pictures/BCCD", f"--split={split}", *BLOOD_CELLS]
        machine.python("pictures.log", *words, machine.out / "shards" / name, limit_s=60)
