"""python -m train.detect RUN|CHECKPOINT.pt|CONFIG IMAGE|VIDEO|FOLDER|'GLOB' ... [--out FOLDER] [key=value ...]

Runs a trained network on pictures and videos: --out receives each with its detections drawn, and files of all
detections in the chosen formats. Files in folders (at any depth) and globs come in the order of the numbers in their
names. Pictures are turned as their EXIF says, and boxes (left, top, right, bottom edge in px) refer to the turned one.

RUN and the others as in train.score; darknet's weights need data.classes=[...]. Other config keys that matter:
evaluate.side, evaluate.iou_threshold (of suppression), evaluate.max_detections, data.resize.

From Python: `from train.detect import load_detector`; train/inference/detector.py shows how.
"""

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from data.wording import counted, in_words
from launch.command import run
from train.inference.detector import Detector, load_detector
from train.inference.inputs import EACH_RESULT, is_video, list_inputs, require_own_folder, unique_names
from train.inference.passes import Options, Speed, detect_pictures, detect_video
from train.inference.result_formats import FORMATS, Result

__all__ = ["Detector", "load_detector", "main"]

USUAL_THRESHOLD = 0.3
MOST_SAID = 20  # files with problems: a full disk is one for each


def read_thresholds(text: str, detector: Detector) -> NDArray[np.float64]:
    """[C] thresholds: one number for all classes, or from train.score's scores.json that of each class's best F1."""
    classes = detector.classes
    if not text.endswith(".json"):
        return np.full(len(classes), read_score(text))
    try:
        sides = json.loads(Path(text).read_text())["sides"]
        numbers = sides.get(detector.config.evaluate.size) or next(iter(sides.values()))
        known = {name: numbers["classes"][name]["at score"] for name in classes}
        return np.array([USUAL_THRESHOLD if each is None else each for each in known.values()], np.float64)
    except (KeyError, TypeError, AttributeError, StopIteration, OSError, ValueError) as error:
        raise ValueError(
            f"--threshold {text}: expected scores.json of train.score for the classes {in_words(classes)} ({error!r})"
        ) from None


def read_score(text: str) -> float:
    with suppress(ValueError):
        if 0 <= float(text) <= 1:
            return float(text)
    raise ValueError(f"--threshold {text}: expected a score such as 0.3, 0 to 1, or scores.json of train.score")


def detect(detector: Detector, paths: Sequence[Path], options: Options, speed: Speed) -> Iterator[Result | Exception]:
    """Results of pictures, then of videos; an error in place of a file that does not decode or cannot be written."""
    named = list(zip(unique_names(paths), paths, strict=True))
    yield from detect_pictures(detector, [each for each in named if not is_video(each[1])], options, speed)
    for name, path in named:
        if is_video(path):
            try:
                yield from detect_video(detector, name, path, options, speed)
            except (ValueError, OSError) as error:
                yield error


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m train.detect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", type=Path, metavar="RUN|CHECKPOINT|CONFIG")
    parser.add_argument("inputs", nargs="+", metavar="IMAGE|VIDEO|FOLDER|GLOB|key=value")
    parser.add_argument("--out", type=Path, help="folder; default: RUN/detections, or ./detections without a run")
    parser.add_argument(
        "--threshold",
        default=str(USUAL_THRESHOLD),
        metavar="SCORE|SCORES.json",
        help="lowest score shown; or scores.json of train.score --out, for the score of each class's best F1; "
        "default .3",
    )
    parser.add_argument(
        "--format", default="json", metavar="NAME[,NAME]", help=f"of {', '.join(FORMATS)}; default json"
    )
    parser.add_argument("--no-labels", action="store_true", help="draw boxes without their classes")
    options = parser.parse_intermixed_args(arguments)
    options.overrides = [each for each in options.inputs if re.match(r"[a-z_.]+=", each) and not Path(each).exists()]
    options.out = options.out or (options.target if options.target.is_dir() else Path()) / "detections"
    options.formats = options.format.split(",")
    if unknown := set(options.formats) - FORMATS.keys():
        raise ValueError(f"--format {options.format}: expected some of {', '.join(FORMATS)}, found {min(unknown)}")
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    given = _arguments(arguments)
    paths = list_inputs([each for each in given.inputs if each not in given.overrides], given.out)
    require_own_folder(given.out, paths, given.formats)
    detector = load_detector(given.target, given.overrides, "cuda" if torch.cuda.is_available() else "cpu")
    options = Options(given.out, read_thresholds(given.threshold, detector), not given.no_labels)
    given.out.mkdir(parents=True, exist_ok=True)
    speed, problems, done = Speed(), list[str](), 0
    with ExitStack() as formats:
        adds = [formats.enter_context(FORMATS[name](given.out, detector.classes)) for name in given.formats]
        for result in detect(detector, paths, options, speed):
            if isinstance(result, Exception):
                problems.append(str(result))
                continue
            done += 1
            for name, add in zip(given.formats, adds, strict=True):
                try:
                    add(result)
                except (OSError, ValueError) as error:
                    if name not in EACH_RESULT:  # one file for all: it would lack a piece in its middle
                        raise
                    problems.append(f"{result.source} is not in {name}: {error}")
            counts = Counter(name for name, _, _ in result.rows(detector.classes))
            print(f"{result.source}: {', '.join(f'{count} {name}' for name, count in counts.items()) or 'nothing'}")
    print(f"{given.out}: {counted(done, 'picture')}, {', '.join(given.formats)}\n{speed}")
    if problems:
        more = [f"and {len(problems) - MOST_SAID} more"] * (len(problems) > MOST_SAID)
        raise ValueError("\n".join([*problems[:MOST_SAID], *more]))


if __name__ == "__main__":
    sys.exit(run(main))
