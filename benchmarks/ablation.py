"""python -m benchmarks.ablation bccd|voc256 SET [--rows GIoU ...] [--seeds 0 1]: what each part is worth.

The recipe `scratch` in shortened runs of the protocols of benchmarks/learning.py, one part changed at a time. A row
shows each seed's best mAP on `val`, their mean, and its difference from the recipe's. A part is kept if it helps by
more than seeds differ. Finished runs are not repeated.
"""

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.learning import PROTOCOLS, Protocol, train, write_sets
from launch.command import run

#: Shorter, smaller and faster, so that a row takes minutes of one core
SHORTENED: Mapping[str, Sequence[str]] = {
    "bccd": (
        "epochs=24", "data.sides=[320,352]", "evaluate.side=352", "loss.coord=2",
        "data.augment={flip_vertical: 0, scale_min: 1, scale_max: 1, min_visible: 0.25, mosaic: 0}",
    ),
    "voc256": (
        "epochs=8", "data.sides=[96,128]", "evaluate.side=128", "model.variant=tiny-voc", "model.width=0.5",
        "loss.boxes=darknet", "loss.coord=2",
        "data.augment={scale_min: 1, scale_max: 1, min_visible: 0.25, mosaic: 0}",
    ),
}  # fmt: skip
RECIPE = "the recipe"
ROWS: Mapping[str, Sequence[str]] = {
    RECIPE: (),
    "darknet's SGD": ("step.optimizer=sgd", "schedule.rate=1e-3", "step.decay=5e-4"),
    "no clipping of norms": ("step.clip_norm=null",),
    "newest weights instead of averaged ones": ("step.ema=null", "step.ema_images=0"),
    "averaged over 2 %": ("step.ema='2 %'",),
    "averaged over 15 %": ("step.ema='15 %'",),
    "batch-norm momentum .01": ("model.bn_momentum=0.01",),
    "decay .05": ("step.decay=0.05",),
    "rate 1e-3": ("schedule.rate=1e-3",),
    "scale jitter .6 to 1.4": ("data.augment.scale_min=0.6", "data.augment.scale_max=1.4"),
    "mosaic until 85 %": ("data.augment.mosaic=0.5",),
    "mosaic until the end": ("data.augment.mosaic=0.5", "data.augment.mix_until=1"),
    "mixup": ("data.augment.mixup=0.2",),
    "mirrored and transposed, as if there were no up": ("data.augment.flip_vertical=0.5", "data.augment.transpose=0.5"),
    "GIoU, weight 4": ("loss.boxes=giou", "loss.coord=4"),
    "CIoU, weight 4": ("loss.boxes=ciou", "loss.coord=4"),
    "darknet's boxes, weight 1": ("loss.coord=1",),
    "darknet's boxes, weight 4": ("loss.coord=4",),
    "squared objectness": ("loss.objectness=squared", "loss.object=5", "loss.noobject=1"),
    "one anchor for a truth": ("loss.anchor_iou=1",),
    "no bias of objectness": ("model.objectness_bias=0",),
    "classes weigh half": ("loss.classes=0.5",),
}


def measured(protocol: Protocol, name: str, row: Sequence[str], seeds: Sequence[int], out: Path) -> list[float]:
    """The best mAP on val of each seed, 0..1."""
    folder = out / "".join(letter if letter.isalnum() else "-" for letter in name)
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", "val", "test"):
        if not (folder / split).exists():
            (folder / split).symlink_to(out / split)
    shortened = [*SHORTENED[protocol.name], *row]
    return [max(ap for _, ap in train(protocol, folder, seed, 1, shortened, scored=()).curve) for seed in seeds]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.ablation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("protocol", choices=list(PROTOCOLS))
    parser.add_argument("set", type=Path, metavar="SET")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for sets and runs; default: runs/ablation-PROTOCOL")
    options = parser.parse_args(arguments)
    protocol = PROTOCOLS[options.protocol]
    out = (options.out or Path("runs") / f"ablation-{options.protocol}").resolve()
    write_sets(protocol, options.set, out)
    print("| part | best mAP on val of each seed, % | mean | against the recipe |\n| --- | --- | --- | --- |")
    standard: float | None = None
    for name in dict.fromkeys([RECIPE, *options.rows]):
        found = [100 * ap for ap in measured(protocol, name, ROWS[name], options.seeds, out)]
        mean = statistics.mean(found)
        standard = mean if standard is None else standard
        each = ", ".join(f"{ap:.1f}" for ap in found)
        print(f"| {name} | {each} | {mean:.1f} | {mean - standard:+.1f} |", flush=True)


if __name__ == "__main__":
    sys.exit(run(main))
