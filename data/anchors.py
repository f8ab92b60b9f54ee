"""Dimension clusters: the box shapes that a network for these shards should start from (paper, Dimension Clusters).

    python -m data.anchors SHARDS --count 5 --out anchors.yaml

Sizes are those that training sees, in grid cells of 32 px of its input: the image is first made square, as in the run.
Two boxes are compared by IoU as if they shared their centre.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from data.files import write_whole
from data.images.geometry import CELL_PX, Resize, whole_image
from data.randomness import Purpose, random_bits
from data.shards.index import ShardIndex
from data.wording import counted
from launch.command import run
from launch.config_file import read_yaml

BINS_PER_OCTAVE = 32  # sizes within 2.2 % of each other are pooled: changes average IoU by under 0.001
RESTARTS = 5
MAX_STEPS = 500  # a mean is not the best centre by IoU, so nothing guarantees an end; 15 clusters need some 200
MOST_OF_CURVE = 15  # anchors, as in the paper's figure 2

Sizes = NDArray[np.float64]  # [N, 2] w, h


def sizes_cells(index: ShardIndex, side: int, resize: Resize) -> Sizes:
    """[N, 2] w, h of the objects that are trained on (not difficult, not crowd) in an input of `side` px, no jitter."""
    arrays = index.arrays
    images_px = np.stack([arrays["widths"], arrays["heights"]], axis=1)
    shapes_px, shape_of = np.unique(images_px, axis=0, return_inverse=True)
    targets = np.array([whole_image(width, height, side, resize).target for width, height in shapes_px.tolist()])
    zooms = ((targets[:, 2:] - targets[:, :2]) / shapes_px)[shape_of.reshape(-1)]
    sizes_px = (arrays["boxes_xyxy_px"][:, 2:] - arrays["boxes_xyxy_px"][:, :2]).astype(np.float64)
    sizes = sizes_px * np.repeat(zooms, np.diff(arrays["object_starts"]), axis=0) / CELL_PX
    trained: Sizes = sizes[index.trained()]
    return trained


def shape_iou(sizes_cells: Sizes, anchors_cells: Sizes) -> NDArray[np.float64]:
    """[N, 2], [K, 2] -> [N, K] IoU of boxes that share their centre."""
    widths, heights = np.ascontiguousarray(sizes_cells.T)
    ious = np.empty((len(anchors_cells), len(sizes_cells)))
    for row, (width, height) in zip(ious, anchors_cells, strict=True):  # three times as fast as all at once
        overlap = np.minimum(widths, width) * np.minimum(heights, height)
        np.divide(overlap, widths * heights + width * height - overlap, out=row)
    return ious.T


def average_iou(sizes_cells: Sizes, anchors_cells: Sizes) -> float:
    """Mean IoU of each size with its nearest anchor: what the paper's figure 2 shows."""
    return float(shape_iou(sizes_cells, anchors_cells).max(1).mean())


def cluster(sizes_cells: Sizes, count: int, seed: int = 0) -> Sizes:
    """[count, 2] centres of k-means with the distance 1 - IoU, in order of area: the best of a few starts."""
    pooled, weights = _pool(sizes_cells)
    if not 0 < count <= len(pooled):
        raise ValueError(
            f"expected as many different box sizes as anchors, and at least one; found {len(pooled)} for {count}; use"
            " another --count, or more images"
        )
    bits = [random_bits(count, Purpose.ANCHORS, seed, start) for start in range(RESTARTS)]
    starts = [_seeds(pooled, weights, count, each) for each in bits]
    found = [_settle(pooled, weights, centres) for centres in starts]
    best = max(found, key=lambda centres: float(weights @ shape_iou(pooled, centres).max(1)))
    return best[np.argsort(best.prod(1), kind="stable")]


def _pool(sizes: Sizes) -> tuple[Sizes, NDArray[np.float64]]:
    """Merges nearly equal sizes into their mean, with a weight: 860,001 sizes like COCO's become some 42,000."""
    if not len(sizes):
        return sizes, np.empty(0)
    bins = np.floor(np.log2(sizes) * BINS_PER_OCTAVE).astype(np.int64)
    bins -= bins.min(0)
    _, bin_of, counts = np.unique(
        bins[:, 0] * (bins[:, 1].max() + 1) + bins[:, 1], return_inverse=True, return_counts=True
    )
    sums = [np.bincount(bin_of, weights=column) for column in sizes.T]
    return np.stack(sums, axis=1) / counts[:, None], counts.astype(np.float64)


def _seeds(sizes: Sizes, weights: NDArray[np.float64], count: int, bits: NDArray[np.uint64]) -> Sizes:
    """Starting centres, each drawn with a probability proportional to its distance from those before (k-means++)."""
    chosen: list[int] = []
    distances = np.ones(len(sizes))
    for fraction in (bits >> np.uint64(11)) / 2**53:
        reached = np.cumsum(weights * distances)
        chosen.append(int(np.searchsorted(reached, fraction * reached[-1], side="right")))
        distances = np.minimum(distances, 1 - shape_iou(sizes, sizes[chosen[-1:]])[:, 0])
    return sizes[chosen]


def _settle(sizes: Sizes, weights: NDArray[np.float64], centres: Sizes) -> Sizes:
    """Moves each centre to the mean of the sizes nearest to it, until no size changes its centre."""
    before = np.full(len(sizes), -1)
    for _ in range(MAX_STEPS):
        nearest = shape_iou(sizes, centres).argmax(1)
        if np.array_equal(nearest, before):
            break
        totals = [np.bincount(nearest, weights * column, len(centres)) for column in (*sizes.T, np.ones(len(sizes)))]
        members = totals[2] > 0  # a centre without members stays
        centres = np.where(members[:, None], np.stack(totals[:2], axis=1) / np.maximum(totals[2], 1)[:, None], centres)
        before = nearest
    return centres


def _refuse_config(out: Path | None) -> None:
    """ValueError if the file is there and holds more than anchors: a config, which would be lost."""
    if out and out.is_file() and set(read_yaml(out)) != {"anchors"}:
        raise ValueError(f"--out {out}: expected a new file or one of anchors alone, found another; choose another")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m data.anchors", description="Anchors for a set of shards")
    parser.add_argument("shards", type=Path, help="folder of training shards")
    parser.add_argument("--count", type=int, default=5, help="anchors")
    parser.add_argument("--side", type=int, default=416, help="px of the network's input")
    parser.add_argument(
        "--resize", choices=get_args(Resize), default="letterbox", help="stretch belongs to augment.policy=crop"
    )
    parser.add_argument("--curve", action="store_true", help=f"also show average IoU of 1 to {MOST_OF_CURVE} anchors")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="YAML file for the anchors, to copy into a config")
    options = parser.parse_args(arguments)
    if options.side < CELL_PX or options.side % CELL_PX:
        raise ValueError(f"--side {options.side}: expected a multiple of {CELL_PX} px, the stride of the network")
    _refuse_config(options.out)
    index = ShardIndex.load(options.shards)
    sizes = sizes_cells(index, options.side, options.resize)
    if options.curve:
        print("anchors  average IoU")
        for count in range(1, MOST_OF_CURVE + 1):
            average = average_iou(sizes, cluster(sizes, count, options.seed))
            print(f"{count:7}  {average:.3f}  {'#' * round(average * 60)}", flush=True)
    anchors = np.round(cluster(sizes, options.count, options.seed), 4)
    text = (
        f"# {counted(options.count, 'dimension cluster')} of {counted(len(sizes), 'object')}, "
        f"average IoU {average_iou(sizes, anchors):.3f}\n"
        f"# {index.source}; {options.resize} at {options.side} px; in grid cells of {CELL_PX} px: w, h, w, h, ...\n"
        f"anchors: {anchors.reshape(-1).tolist()}\n"
    )
    print(text, end="")
    if options.out:
        write_whole(options.out, text)


if __name__ == "__main__":
    sys.exit(run(main))
