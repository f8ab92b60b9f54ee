"""python -m benchmarks.learning bccd|voc256 SET [--seeds 0 1 2] [--processes 2] [--out FOLDER] [key=value ...]

What training from random weights achieves, by two fixed protocols. SET is a folder with Annotations, ImageSets and
JPEGImages, or a tar of one. For each seed: train on `train`, keep what is best on `val`, score that once on `test`.

bccd    blood cells: 205 images for training, 87 for selection, 72 for the score; mAP@.5, area; 30 minutes of 2 cores.
voc256  VOC2007 with pictures of 256 px: every tenth of trainval, from the first on, for selection, the rest for
        training; 825 images of test for the score; mAP@.5, 11-point; 150 minutes of 2 cores.

Each run uses the public commands, with the protocol's config and the keys given here. Minutes are CPU time of all
processes, divided by 2 cores, so that they hardly depend on other load. A finished run is not trained again.
"""

import argparse
import csv
import json
import math
import resource
import statistics
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.exchange import forward_flop
from launch.command import run
from train.config import load
from train.model import build_model

CORES = 2
STDERR = 2


@dataclass(frozen=True)
class Protocol:
    name: str
    config: str
    minutes: float
    metric: str  #: of scores.json
    columns: Sequence[str] = ()  #: classes shown, all if there are few
    arguments: Sequence[str] = ()  #: of data.shards voc


PROTOCOLS = {
    "bccd": Protocol(
        "bccd",
        "configs/bccd.yaml",
        30,
        "mAP@.5",
        columns=("Platelets", "RBC", "WBC"),
        arguments=("--drop-degenerate", "--classes", "Platelets,RBC,WBC"),
    ),
    "voc256": Protocol("voc256", "configs/voc256.yaml", 150, "mAP@.5 (11-point)"),
}


class Outcome(NamedTuple):
    seed: int
    images: int
    minutes: float  # of CORES cores
    curve: list[tuple[int, float]]  # images seen, mAP on val, 0..1
    scores: Mapping[str, Any]  # on test, as train.score writes them for one side
    trained: float  # the metric on the training images


def unpacked(source: Path, out: Path) -> Path:
    """The folder with ImageSets."""
    if source.is_dir():
        return source
    with tarfile.open(source) as archive:
        archive.extractall(out, filter="data")
    found = next(out.glob("**/ImageSets"), None)
    if found is None:
        raise ValueError(f"{source}: expected a tar of a folder with ImageSets, Annotations and JPEGImages")
    return found.parent


def split_lists(root: Path, out: Path) -> dict[str, str]:
    """Names for --split. Without `val` in the set, it is every tenth of trainval."""
    lists = root / "ImageSets" / "Main"
    if (lists / "val.txt").is_file():
        return {name: name for name in ("train", "val", "test")}
    ids = (lists / "trainval.txt").read_text().split()
    out.mkdir(parents=True, exist_ok=True)
    for name, chosen in {"val": ids[::10], "train": [each for n, each in enumerate(ids) if n % 10]}.items():
        (out / f"{name}.txt").write_text("\n".join(chosen) + "\n")
    return {name: str((out / f"{name}.txt").resolve()) for name in ("train", "val")} | {"test": "test"}


def write_sets(protocol: Protocol, source: Path, out: Path) -> None:
    if all((out / name).is_dir() for name in ("train", "val", "test")):
        return
    root = unpacked(source, out / "unpacked")
    for name, split in split_lists(root, out / "lists").items():
        command("data.shards", "voc", str(root), "--split", split, str(out / name), *protocol.arguments)


def command(module: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", module, *arguments], check=True, stdout=STDERR)


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def train(
    protocol: Protocol,
    out: Path,
    seed: int,
    processes: int,
    overrides: Sequence[str],
    scored: Sequence[str] = ("test", "train"),
) -> Outcome:
    """One run with out/train and out/val. scored: splits to score the best network on val on."""
    folder, record = out / f"seed{seed}", out / f"seed{seed}" / "learning.json"
    sets = [f"data.train={out / 'train'}", f"data.val={out / 'val'}"]
    if not record.is_file():
        began = cpu_s()
        launcher = ("torch.distributed.run", "--standalone", f"--nproc-per-node={processes}")
        command(*launcher, "train/main.py", protocol.config, *sets, f"seed={seed}", f"run={folder}", *overrides)
        record.write_text(json.dumps({"minutes": (cpu_s() - began) / 60 / CORES}))
    curve = [(int(row["images"]), float(row["mAP"])) for row in evaluations(folder)]
    scores = {name: score(folder, out / name, folder / f"scores-{name}") for name in scored}
    minutes = json.loads(record.read_text())["minutes"]
    trained = scores["train"][protocol.metric] if "train" in scored else math.nan
    return Outcome(seed, curve[-1][0], minutes, curve, scores.get("test", {}), trained)


def evaluations(run_folder: Path) -> list[dict[str, str]]:
    """Rows of results.csv so far; none before the first evaluation."""
    path = run_folder / "results.csv"
    return list(csv.DictReader(path.read_text().splitlines())) if path.is_file() else []


def score(run_folder: Path, shards: Path, out: Path) -> Mapping[str, Any]:
    if not (out / "scores.json").is_file():
        command("train.score", str(run_folder), f"data.val={shards}", "--out", str(out))
    (scores,) = json.loads((out / "scores.json").read_text())["sides"].values()
    assert isinstance(scores, dict)
    return scores


def table(protocol: Protocol, outcomes: Sequence[Outcome]) -> str:
    """A Markdown table, in percent."""
    heads = ["seed", "images", "minutes", "best on val", f"test, {protocol.metric}", "on train", *protocol.columns]
    rows = [
        [
            str(each.seed),
            f"{each.images:,}",
            f"{each.minutes:.1f}" + " (over the limit)" * (each.minutes > protocol.minutes),
            *(
                f"{100 * value:.1f}"
                for value in (max(ap for _, ap in each.curve), test_ap(protocol, each), each.trained)
            ),
            *(f"{100 * each.scores['classes'][name]['AP@.5']:.1f}" for name in protocol.columns),
        ]
        for each in outcomes
    ]
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def test_ap(protocol: Protocol, outcome: Outcome) -> float:
    return float(outcome.scores[protocol.metric])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("protocol", choices=list(PROTOCOLS))
    parser.add_argument("set", type=Path, metavar="SET")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--processes", type=int, default=CORES)
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for sets and runs; default: runs/learning-PROTOCOL")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args(arguments)
    protocol: Protocol = PROTOCOLS[options.protocol]
    out = (options.out or Path("runs") / f"learning-{options.protocol}").resolve()
    config = load(protocol.config, options.overrides)
    write_sets(protocol, options.set, out)
    outcomes = []
    for seed in options.seeds:
        outcomes.append(train(protocol, out, seed, options.processes, options.overrides))
        print(f"seed {seed}, on val: " + " ".join(f"{images:,}: {ap:.3f}" for images, ap in outcomes[-1].curve))
    found = [100 * test_ap(protocol, each) for each in outcomes]
    model = build_model(config.model, len(outcomes[0].scores["classes"]), config.num_anchors)
    gflop = forward_flop(model, config.evaluate.side) / 1e9
    print(f"\n{config.model.variant}, width {config.model.width}: {gflop:.2f} GFLOP at {config.evaluate.side} px\n")
    print(table(protocol, outcomes))
    spread = f", spread {max(found) - min(found):.1f}" if len(found) > 1 else ""
    print(f"\ntest, {protocol.metric}: mean {statistics.mean(found):.1f} %{spread} over {len(found)} seeds")


if __name__ == "__main__":
    sys.exit(run(main))
