"""python -m train.score RUN|CHECKPOINT.pt|CONFIG [--sides 288,416,544] [key=value ...]: how good a network is on a set.

A run folder provides its config and best checkpoint, a checkpoint the config of its run; a config file, or darknet's
.cfg, needs weights=FILE. Keys are those of the config: data.val=SHARDS chooses another set. `torchrun -m train.score
...` shares the work.

Prints for every size: means, then each class with its AP@[.5:.95] by object size (COCO's: below 32^2, to 96^2 and
above, px of the image) and the score at which F1 is best, a threshold for train.detect; then what mAP loses to each
kind of error (train/reports/errors.py), and how far scores are from the share that is right (ECE). --out receives all
of it as scores.json, and charts: precision over recall, F1 over the score, confusion of classes, reliability.

The network runs in step.precision; its last layer, and all that follows, is computed in float32.
"""

import argparse
import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from data.files import write_whole
from data.loading.loader import Loader
from data.loading.opening import open_shards
from data.remote.staging import Staging, Wanted
from data.shards.index import ShardIndex
from data.view.attempts import describe
from data.wording import counted
from launch.command import run
from launch.config_file import ALLOW_PIPE
from launch.processes.environment import Environment, connect, leave
from launch.redact import redacted
from train.config import Config, require_own_commands
from train.evaluation.config import EvaluateConfig
from train.evaluation.evaluator import Evaluator
from train.evaluation.scores.coco import coco_ap
from train.evaluation.scores.tables import Detections, by_image_id, truths_of
from train.loss import build_loss
from train.reports.calibration import calibrate
from train.reports.errors import find_errors
from train.reports.report import Scored, as_json, tables
from train.reports.result_files import write_coco, write_voc
from train.stepping.step import Step
from train.trained import find_trained, load_trained


def score(
    config: Config, weights: Path, sides: Sequence[int], env: Environment
) -> tuple[ShardIndex, dict[str, Scored]]:
    """The set, and scores by size of the input on rank 0; no scores on other ranks. sides: of squares; (): as set."""
    evaluate = [dataclasses.replace(config.evaluate, pictures=0)]
    if sides:
        evaluate = [dataclasses.replace(evaluate[0], side=side, height=None) for side in sides]
    index = open_shards(config.data.val, config.data.classes, config.data.staging)
    loader = Loader(
        index,
        dataclasses.replace(config.data, batch=env.world_size),  # for training, which does not happen here
        seed=config.seed,
        rank=env.rank,
        world_size=env.world_size,
        device=env.device,
    )
    model, classes = load_trained(config, weights, index.classes)
    loss = build_loss(config.loss, config.anchor_pairs, len(classes))
    step = Step(config.step, config.schedule, model, loss, env)
    with Staging([Wanted(config.data.val, index, range(len(index.shards)))]):
        every_size = {each.size: _score_size(each, loader, step, env) for each in evaluate}
    return index, {size: scored for size, scored in every_size.items() if scored is not None}


def _score_size(config: EvaluateConfig, loader: Loader, step: Step, env: Environment) -> Scored | None:
    evaluator = Evaluator(config, loader, env)
    evaluation = evaluator(step)
    assert evaluation is not None, "nothing asked it to stop"
    if env.rank:
        return None
    index = loader.index
    compared = by_image_id(evaluation.found, index), evaluator.truths, len(index.classes)
    if evaluation.coco is None:
        evaluation = evaluation._replace(coco=coco_ap(*compared))
    return Scored(evaluation, find_errors(*compared), calibrate(*compared))


def write_results(out: Path, size: str, found: Detections, index: ShardIndex) -> None:
    """Writes files for the official servers: COCO's JSON for a COCO set, otherwise VOC's files."""
    if index.source.startswith("coco "):
        write_coco(out / f"results-{size}.json", found, index)
    else:
        write_voc(out / f"results-{size}", found, index)


def write_all(
    out: Path, about: Mapping[str, Any], index: ShardIndex, found: Mapping[str, Scored], *, results: bool
) -> None:
    """Writes the numbers first; a failure is reported at the end and keeps nothing else from being written."""
    out.mkdir(parents=True, exist_ok=True)
    problems = []
    files: list[tuple[str, Callable[[], object]]] = [
        ("scores.json", lambda: write_whole(out / "scores.json", json.dumps(about, indent=1) + "\n")),
        *(
            (f"results-{size}", partial(write_results, out, size, each.evaluation.found, index))
            for size, each in found.items()
            if results
        ),
    ]
    try:
        files += _charts(out, index, found)
    except Exception as error:  # of matplotlib's own settings
        problems.append(f"no charts: {describe(error)}")
    for name, write in files:
        try:
            write()
        except Exception as error:  # drawing a chart may raise anything
            problems.append(f"{out / name} could not be written: {describe(error)}")
    if problems:
        raise ValueError("\n".join(problems))


def _charts(out: Path, index: ShardIndex, found: Mapping[str, Scored]) -> Iterator[tuple[str, Callable[[], object]]]:
    from train.reports.charts import write_confusion, write_curves, write_f1, write_reliability  # takes half a second

    classes, title = index.classes, f"{index.source}, {counted(index.num_samples, 'image')}"
    voc = {f"{size} px": each.evaluation.voc for size, each in found.items()}
    calibrations = {f"{size} px": each.calibration for size, each in found.items()}
    yield "curves.png", partial(write_curves, out / "curves.png", title, classes, voc)
    yield "calibration.png", partial(write_reliability, out / "calibration.png", title, calibrations)
    for size, each in found.items():
        at_size, f1, matrix = f"{title}, {size} px", out / f"f1-{size}.png", out / f"confusion_matrix-{size}.png"
        yield f1.name, partial(write_f1, f1, at_size, classes, each.evaluation.voc)
        if each.evaluation.confusion is not None:
            yield matrix.name, partial(write_confusion, matrix, at_size, classes, each.evaluation.confusion)


def _sides(text: str) -> list[int]:
    if not re.fullmatch(r"\d+(,\d+)*", text):
        raise ValueError(f"--sides {text}: expected numbers of px such as 288,416,544")
    return [int(side) for side in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.score", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", type=Path, metavar="RUN|CHECKPOINT|CONFIG")
    parser.add_argument("--sides", help="comma separated, px; of squares; default: evaluate.side, evaluate.height")
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="folder for scores.json and charts")
    parser.add_argument("--results", action="store_true", help="also result files for VOC's or COCO's server, in --out")
    parser.add_argument(ALLOW_PIPE, action="store_true", help="run commands in the config")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args(arguments)
    overrides = [*options.overrides, *[ALLOW_PIPE] * options.allow_pipe]
    if options.results and options.out is None:
        raise ValueError("--results: expected --out FOLDER to write the files to")
    config, weights = find_trained(options.target, overrides)
    require_own_commands(config, overrides)
    sides = _sides(options.sides) if options.sides else []
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    with connect() as env:
        index, found = score(config, weights, sides, env)
        if env.rank == 0:
            data_set = redacted(config.data.val)
            neutral = truths_of(index).ignored
            objects = counted((~neutral).sum(), "object")
            objects += f", {neutral.sum():,} difficult or crowd" * bool(neutral.any())
            print(f"{weights} on {data_set}: {counted(index.num_samples, 'image')}, {objects}\n")
            print(tables(index, found), flush=True)
            if options.out:
                about = {"weights": str(weights), "set": data_set, "sides": as_json(index, found)}
                write_all(options.out, about, index, found, results=options.results)


if __name__ == "__main__":
    leave(run(main))
