"""python -m benchmarks.epoch: the cost of evaluation after an epoch relative to training it, from measured parts.

VOC as published: the full network trains on 16,551 images at 320 to 608 px and evaluates 4,952 at 416 px, on the device
of this machine. Medians over rounds in which the parts take turns; without a GPU in CPU seconds, so that other load
hardly counts. Reading images is left out: an image of either set costs about the same, and other processes do it
meanwhile.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch

from benchmarks.evaluate import ANCHORS_CELLS, made_up, raw_output
from data.images.boxes import clip
from data.images.geometry import letterbox, unplace_boxes
from data.loading.batch import Batch
from launch.processes.environment import Environment, connect
from train.config import VOC_ANCHORS
from train.detection.head import detections
from train.evaluation.scores.voc import voc_ap
from train.loss import LossConfig, build_loss
from train.model import YOLOv2
from train.schedule.learning_rate import ScheduleConfig
from train.stepping.config import StepConfig
from train.stepping.step import Step

TRAINED, EVALUATED = 16_551, 4_952
SIDES, MEASURED_SIDES, SIDE = range(320, 609, 32), (320, 416, 608), 416
DETECTIONS = 500_000  # in the whole set: a hundred per image
Part = tuple[Callable[[], object], int]  # what to run, and for how many images


def parts(batch: int, env: Environment) -> dict[str, Part]:
    anchors = list(zip(VOC_ANCHORS[::2], VOC_ANCHORS[1::2], strict=True))
    step = Step(StepConfig(), ScheduleConfig(), YOLOv2(), build_loss(LossConfig(), anchors, 20), env)
    truths = torch.full((batch, 50, 5), 0.5)
    raw, tables, placement = raw_output(True).to(env.device), made_up(DETECTIONS), letterbox(500, 375, SIDE)

    def images(side: int) -> torch.Tensor:
        return torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8)

    def train(side: int, pixels: torch.Tensor) -> None:
        float(step(Batch(pixels, truths, torch.arange(batch), [], side), 0).total)

    def find() -> None:
        anchors_cells = ANCHORS_CELLS.to(env.device)
        for found in detections(raw, anchors_cells, score_threshold=0.005, iou_threshold=0.45):
            clip(unplace_boxes(found.boxes_xyxy, placement, SIDE), 500, 375)

    found: dict[str, Part] = {}
    for side in MEASURED_SIDES:
        found[f"train, {side} px"] = (partial(train, side, images(side)), batch)
    pixels = images(SIDE)
    found[f"predict, {SIDE} px"] = (lambda: float(step.predict(pixels).sum()), batch)
    found["boxes and suppression"] = (find, len(raw))
    found["counting of 500,000 detections"] = (lambda: voc_ap(*tables, 80), EVALUATED)
    return found


def ms_per_image(rounds: int, batch: int, env: Environment) -> dict[str, float]:
    times: dict[str, list[float]] = {}
    everything = parts(batch, env)
    clock = time.process_time if env.device.type == "cpu" else time.perf_counter
    for number in range(rounds + 1):
        for name, (run, images) in everything.items():
            began = clock()
            run()
            if number:  # the first round warms up
                times.setdefault(name, []).append(1000 * (clock() - began) / images)
    return {name: statistics.median(of_part) for name, of_part in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.epoch", description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with connect() as env:
        measured = ms_per_image(options.rounds, options.batch, env)
    training = [measured[f"train, {side} px"] for side in MEASURED_SIDES]
    mean = float(np.interp(np.square(SIDES), np.square(MEASURED_SIDES), training).mean())  # sides are equally likely
    evaluation = sum(value for name, value in measured.items() if not name.startswith("train"))
    for name, value in measured.items():
        print(f"{name:<32} {value:9.3f} ms/image")
    print(f"{'train, 320 to 608 px':<32} {mean:9.3f} ms/image  x {TRAINED:,} = {mean * TRAINED / 1000:,.1f} s")
    print(f"{'evaluate':<32} {evaluation:9.3f} ms/image  x {EVALUATED:,} = {evaluation * EVALUATED / 1000:,.1f} s")
    print(f"evaluation / training of an epoch: {evaluation * EVALUATED / (mean * TRAINED):.1%}")


if __name__ == "__main__":
    main()
