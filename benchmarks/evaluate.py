"""python -m benchmarks.evaluate: the cost of scoring 5,000 images and of the suppression before, beside alternatives.

Synthetic detections, arrays in memory on both sides; each case in its own process with one thread. CPU seconds, so that
other load hardly counts; memory is the peak above what the process held before. The answers of a pair of cases are
compared: all bits of COCO's numbers, all survivors of a suppression.
"""

import argparse
import hashlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data.images.boxes import iou
from train.detection.head import candidates
from train.detection.nms import suppress
from train.evaluation.scores.coco import coco_scores, match
from train.evaluation.scores.coco_reference import reference_scores
from train.evaluation.scores.tables import Detections, Truths
from train.evaluation.scores.voc import voc_ap
from train.reports.errors import find_errors

IMAGES, TRUTHS, CLASSES = 5_000, 36_781, 80  # like COCO val2017
ANCHORS_CELLS = torch.tensor(
    [[1.3221, 1.73145], [3.19275, 4.00944], [5.05587, 8.09892], [9.47112, 4.84053], [11.2364, 10.0071]]
)
Case = Callable[[], tuple[Any, str]]  # when called: a digest of its answer, a note on its work


def made_up(count: int) -> tuple[Detections, Truths]:
    """Synthetic tables: a few classes are frequent; two in five detections lie near a truth of theirs."""
    rng = np.random.default_rng(count)

    def boxes(number: int) -> np.ndarray[Any, Any]:
        size = np.exp(rng.uniform(np.log(8), np.log(320), (number, 2)))
        corner = rng.random((number, 2)) * (640 - size)
        return np.concatenate([corner, corner + size], axis=1)

    frequency = rng.dirichlet(np.full(CLASSES, 0.5))
    images, labels = rng.integers(0, IMAGES, TRUTHS), rng.choice(CLASSES, TRUTHS, p=frequency)
    truth_boxes = boxes(TRUTHS)
    areas, crowd = (truth_boxes[:, 2:] - truth_boxes[:, :2]).prod(1) * 0.6, rng.random(TRUTHS) < 0.01
    truths = Truths(images, labels, truth_boxes, areas, np.zeros_like(crowd), crowd)

    which, near = rng.integers(0, TRUTHS, count), rng.random(count) < 0.4
    moved = rng.normal(0, 0.08, (count, 4)) * np.tile(truth_boxes[which, 2:] - truth_boxes[which, :2], 2)
    found = np.where(near[:, None], truth_boxes[which] + moved, boxes(count))
    found = np.concatenate([np.minimum(found[:, :2], found[:, 2:]), np.maximum(found[:, :2], found[:, 2:])], axis=1)
    detections = Detections(
        np.where(near, images[which], rng.integers(0, IMAGES, count)),
        np.where(near, labels[which], rng.choice(CLASSES, count, p=frequency)),
        rng.random(count).astype(np.float32).astype(np.float64),
        found,
    )
    return detections, truths


def ours(count: int) -> Case:
    detections, truths = made_up(count)

    def run() -> tuple[Any, str]:
        start = time.process_time()
        matches = match(detections, truths, CLASSES)
        matching = time.process_time() - start
        scores = coco_scores(matches, truths, CLASSES)
        return scores.twelve.tobytes(), f"{matching:.2f} s of it split among processes"

    return run


def pycocotools(count: int) -> Case:
    detections, truths = made_up(count)
    return lambda: (reference_scores(detections, truths, CLASSES).twelve.tobytes(), "")


def voc(count: int) -> Case:
    detections, truths = made_up(count)
    return lambda: (voc_ap(detections, truths, CLASSES).ap_area.tobytes(), "")


def errors(count: int) -> Case:
    detections, truths = made_up(count)
    return lambda: (find_errors(detections, truths, CLASSES).counts_KC.tobytes(), "")


def raw_output(trained: bool) -> torch.Tensor:
    """Raw output for 32 images of 416 px and 20 classes; if untrained, every pair of box and class is a candidate."""
    raw = torch.randn(32, 5, 25, 13, 13, generator=torch.Generator().manual_seed(0))
    raw[:, :, :4] *= 0.3
    raw[:, :, 4] = raw[:, :, 4] * 2 - 6.5 if trained else raw[:, :, 4]
    raw[:, :, 5:] *= 4 if trained else 0.1
    return raw.flatten(1, 2)


def raw_batch(trained: bool) -> tuple[torch.Tensor, torch.Tensor]:
    return candidates(raw_output(trained), ANCHORS_CELLS, 0.005)


def our_suppression(trained: bool) -> Case:
    boxes, scores = raw_batch(trained)

    def run() -> tuple[Any, str]:
        found = suppress(boxes, scores, 0.45)
        return sorted(zip(found.images.tolist(), found.labels.tolist(), found.boxes.tolist(), strict=True)), ""

    return run


def plain_loop(trained: bool) -> Case:
    """The textbook loop: for every image and class, repeatedly the best box."""
    boxes_xyxy, scores = (tensor.numpy() for tensor in raw_batch(trained))

    def run() -> tuple[Any, str]:
        found = []
        for image, label in np.ndindex(scores.shape[0], scores.shape[2]):
            of_class = scores[image, :, label]
            left = np.argsort(-of_class, kind="stable")[: np.count_nonzero(of_class)]
            while len(left):
                found.append((image, label, int(left[0])))
                overlaps = iou(boxes_xyxy[image, left[0]], boxes_xyxy[image, left[1:]])
                left = left[1:][overlaps <= 0.45]
        return sorted(found), f"{np.count_nonzero(scores):,} candidates, {len(found):,} left"

    return run


PAIRS: dict[str, tuple[Callable[[], Case], Callable[[], Case]]] = {
    "COCO,  40,000 detections": (partial(ours, 40_000), partial(pycocotools, 40_000)),
    "COCO, 500,000 detections": (partial(ours, 500_000), partial(pycocotools, 500_000)),
    "suppression, trained": (partial(our_suppression, True), partial(plain_loop, True)),
    "suppression, untrained": (partial(our_suppression, False), partial(plain_loop, False)),
}
ALONE: dict[str, Callable[[], Case]] = {
    "VOC,  500,000 detections": partial(voc, 500_000),
    "kinds of their errors": partial(errors, 500_000),
}
CASES = {
    f"{name}: {who}": case for name, pair in PAIRS.items() for who, case in zip(("ours", "other"), pair, strict=True)
}
CASES |= ALONE


def memory_mb(field: str) -> float:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def measure(case: str) -> dict[str, Any]:
    torch.set_num_threads(1)
    run = CASES[case]()
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = memory_mb("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    answer, note = run()
    seconds = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    digest = hashlib.sha256(repr(answer).encode()).hexdigest()
    return seconds | {"memory_mb": memory_mb("VmHWM") - before, "digest": digest, "note": note}


def table(found: dict[str, dict[str, Any]]) -> str:
    lines = [f"{'case':<28} {'ours':>8} {'other':>9} {'times':>6} {'ours':>8} {'other':>9}  answers"]
    lines.append(f"{'':<28} {'CPU s':>8} {'CPU s':>9} {'':>6} {'MB':>8} {'MB':>9}")
    for name in PAIRS:
        one, other = found[f"{name}: ours"], found[f"{name}: other"]
        same = "the same" if one["digest"] == other["digest"] else "DIFFERENT"
        times = f"{other['cpu_s'] / one['cpu_s']:.0f}x"
        lines.append(
            f"{name:<28} {one['cpu_s']:>8.3f} {other['cpu_s']:>9.2f} {times:>6} {one['memory_mb']:>8.0f} "
            f"{other['memory_mb']:>9.0f}  {'; '.join(filter(None, (same, one['note'], other['note'])))}"
        )
    lines += [f"{name:<28} {found[name]['cpu_s']:>8.3f} {'':>16} {found[name]['memory_mb']:>8.0f}" for name in ALONE]
    lines.append(
        f"{IMAGES:,} images, {TRUTHS:,} truths, {CLASSES} classes; other: pycocotools, a loop over the classes"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluate", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="the fastest counts; pycocotools runs once")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(options.case)))
        return
    found: dict[str, dict[str, Any]] = {}
    for case in CASES:
        command = [sys.executable, "-m", "benchmarks.evaluate", "--case", case]
        rounds = [
            json.loads(
                subprocess.run(
                    command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, check=True
                ).stdout
            )
            for _ in range(1 if case.endswith("other") else options.rounds)
        ]
        found[case] = min(rounds, key=lambda each: each["cpu_s"])
    print(table(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
