"""A set is evaluated image by image exactly once, and the scores do not depend on the number of processes."""

import json
import os
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from data.loading.config import DataConfig
from data.loading.loader import Loader
from data.shards.index import ShardIndex
from data.shards.writing.write import write_shards
from data.sources.voc import read_voc
from launch.processes.environment import Environment
from tests.conftest import ROOT
from train.evaluation.config import EvaluateConfig
from train.evaluation.evaluator import Evaluator
from train.evaluation.scores.coco import coco_ap
from train.evaluation.scores.tables import Detections, by_image_id, truths_of
from train.evaluation.validation_loss import LossSums
from train.loss import LossConfig, build_loss

PREDICTING = """
import hashlib, json, sys
from pathlib import Path
import numpy as np
import torch
from data.loading.config import DataConfig
from data.loading.loader import Loader
from data.shards.index import ShardIndex
from launch.processes.environment import connect, leave
from train.evaluation.config import EvaluateConfig
from train.evaluation.evaluator import Evaluator
from train.loss import LossConfig, build_loss
from train.model import YOLOv2
from train.schedule.learning_rate import ScheduleConfig
from train.stepping.config import StepConfig
from train.stepping.step import Step

torch.manual_seed(0)
with connect() as env:
    indices = [ShardIndex.load(Path(folder)) for folder in sys.argv[2:]]
    num_classes = len(indices[0].classes)
    model = YOLOv2(num_classes, 2, width=1 / 16)
    with torch.no_grad():
        model.output.bias[4 :: 5 + num_classes] = 2.0  # something to find everywhere
    loss = build_loss(LossConfig(), [(1.0, 1.0), (2.0, 2.0)], num_classes)
    step = Step(StepConfig(precision="fp32"), ScheduleConfig(), model, loss, env)
    for index in indices:
        config = DataConfig(train="", val="", workers=0, batch=env.world_size)
        loader = Loader(index, config, seed=0, rank=env.rank, world_size=env.world_size, device=env.device)
        evaluator = Evaluator(EvaluateConfig(side=96, batch=4, pictures=2, protocol="coco"), loader, env)
        voc, coco, everything, pictures, *_ = evaluator(step)
        found, _, drawn = evaluator._predict_share(step, None, None)
        answers = {}
        for sample in np.unique(found.images).tolist():
            mine = found.images == sample
            assert 5 < mine.sum() <= 100  # of an image
            answer = found.boxes_xyxy_px[mine].tobytes() + found.scores[mine].tobytes()
            answers[sample] = hashlib.sha256(answer).hexdigest()
        values = [voc.ap_area, voc.ap_11point, coco.twelve, coco.precision_TRC.ravel()]
        scores = [value.hex() for value in np.concatenate(values).tolist()]
        if env.rank == 0:
            assert set(everything.images.tolist()) == set(range(index.num_samples)) and len(pictures) == 2
            digest = hashlib.sha256(b"".join(each.tobytes() for each in pictures.values())).hexdigest()
            Path(sys.argv[1], f"pictures-{index.folder.name}-{env.world_size}").write_text(digest)
        else:
            assert len(everything.images) == len(pictures) == 0
        out = Path(sys.argv[1], f"{index.folder.name}-{env.world_size}-{env.rank}")
        out.write_text(json.dumps({"scores": scores, "answers": answers}))
leave()
"""


@pytest.mark.slow
def test_the_same_bits_at_any_number_of_processes(drawn: Path, shards: Path, tmp_path: Path) -> None:
    """Scores, and boxes and scores of every image, though batches are made up differently; some ranks have no image."""
    script = tmp_path / "predict.py"
    script.write_text(textwrap.dedent(PREDICTING))
    val = read_voc(drawn, ["2007:val"])
    write_shards(replace(val, records=val.records[:3]), tmp_path / "three", workers=1)
    sets = {"val": 21, "three": 3}
    scores: dict[str, set[str]] = {name: set() for name in sets}
    answers: dict[str, list[dict[str, str]]] = {name: [] for name in sets}
    for processes in (1, 2, 3, 4):
        start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        done = subprocess.run(
            [sys.executable, *start, str(script), str(tmp_path), str(shards / "val"), str(tmp_path / "three")],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        for name, count in sets.items():
            ranks = [json.loads((tmp_path / f"{name}-{processes}-{rank}").read_text()) for rank in range(processes)]
            scores[name] |= {json.dumps(found["scores"]) for found in ranks}
            assert sum(len(found["answers"]) for found in ranks) == count
            answers[name].append({key: value for found in ranks for key, value in found["answers"].items()})
    for name in sets:
        digests = {(tmp_path / f"pictures-{name}-{processes}").read_text() for processes in (1, 2, 3, 4)}
        assert len(digests) == 1  # the same images, whoever predicted them
        assert len(scores[name]) == 1  # of all ranks of all runs
        assert all(found == answers[name][0] for found in answers[name])


def loader_of(index: ShardIndex) -> Loader:
    return Loader(
        index, DataConfig(train="", val="", workers=0), seed=0, rank=0, world_size=1, device=torch.device("cpu")
    )


def test_an_image_left_out_is_noticed(shards: Path) -> None:
    index = ShardIndex.load(shards / "val")
    evaluator = Evaluator(EvaluateConfig(), loader_of(index), Environment())
    evaluator._assert_complete(list(range(index.num_samples)))
    for wrong in (list(range(index.num_samples - 1)), [*range(index.num_samples), 0]):
        with pytest.raises(AssertionError, match="evaluated twice or not at all"):
            evaluator._assert_complete(wrong)


def test_the_protocol_is_that_of_the_set_or_of_the_config(index: ShardIndex) -> None:
    for source, protocol, coco in [
        ("voc VOC2007 test", "auto", False),
        ("coco val2017 (20 of 80 classes)", "auto", True),
        ("tars at coco", "auto", False),
        ("voc VOC2007 test", "coco", True),
        ("coco val2017", "voc", False),
    ]:
        config = EvaluateConfig(protocol=protocol)  # type: ignore[arg-type]
        evaluator = Evaluator(config, loader_of(replace(index, source=source)), Environment())
        assert (evaluator.coco, evaluator.max_detections) == (coco, 100 if coco else None)
        few = Evaluator(replace(config, max_detections=7), loader_of(replace(index, source=source)), Environment())
        assert few.max_detections == 7


@pytest.mark.parametrize("backend", ["own", "pycocotools"])
def test_the_main_number_is_that_of_the_protocol(index: ShardIndex, backend: Literal["own", "pycocotools"]) -> None:
    truths, num_classes = truths_of(index), len(index.classes)
    rng = np.random.default_rng(0)
    found = Detections(
        truths.images, truths.labels, rng.random(len(truths.images)), truths.boxes_xyxy_px - [6, 6, 0, 0]
    )
    for protocol in ("voc", "coco"):
        config = EvaluateConfig(protocol=protocol, coco_backend=backend)  # type: ignore[arg-type]
        evaluator = Evaluator(config, loader_of(index), Environment())
        evaluation = evaluator._score(found, LossSums())
        assert evaluation.voc.map_area > 0.9
        if evaluation.coco is None:
            assert protocol == "voc" and evaluation.deciding_ap == evaluation.voc.map_area
        else:
            assert (
                protocol == "coco"
                and evaluation.deciding_ap == evaluation.coco.ap == coco_ap(found, truths, num_classes).ap < 0.8
            )
        assert np.nanmean(evaluation.deciding_ap_C) == pytest.approx(evaluation.deciding_ap)


def test_images_are_numbered_in_the_order_of_their_ids(index: ShardIndex) -> None:
    ids = np.array([b"100", b"20", b"3", b"000", b"1000"])
    few = replace(index, arrays=index.arrays | {"image_ids": ids})
    one = np.zeros(5, np.int64)
    found = Detections(np.arange(5), one, np.ones(5), np.ones((5, 4)))
    assert by_image_id(found, few).images.tolist() == [3, 1, 0, 2, 4]


def test_pycocotools_must_be_there_to_be_chosen(index: ShardIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.evaluation.evaluator.find_spec", lambda name: None)
    Evaluator(EvaluateConfig(), loader_of(index), Environment())
    with pytest.raises(ValueError, match=r"evaluate.coco_backend=pycocotools is not installed; pip install it, or"):
        Evaluator(EvaluateConfig(coco_backend="pycocotools"), loader_of(index), Environment())


def test_a_set_without_objects_is_refused(index: ShardIndex) -> None:
    objects, images = len(index.arrays["labels"]), index.num_samples
    all_ignored = {"difficult": np.arange(objects) % 2 == 0, "crowd": np.arange(objects) % 2 == 1}
    columns = ("labels", "boxes_xyxy_px", "areas_px", "difficult", "crowd")
    no_objects = {name: index.arrays[name][:0] for name in columns}
    no_objects["object_starts"] = np.zeros(images + 1, np.int64)
    no_images = {name: column[:0] for name, column in index.arrays.items()} | {"object_starts": np.zeros(1, np.int64)}
    ignored = f"{objects}, all difficult or crowds,"
    for arrays, found, count in ((all_ignored, ignored, images), (no_objects, "none", images), (no_images, "none", 0)):
        message = rf"expected objects to find, found {found} in {count} images; evaluate on a split with"
        with pytest.raises(ValueError, match=message):
            Evaluator(EvaluateConfig(), loader_of(replace(index, arrays=index.arrays | arrays)), Environment())


class Blind:
    """A step that finds nothing."""

    loss = build_loss(LossConfig(), [(1.0, 1.0)] * 5, 6)

    def predict(self, images_BSS3: torch.Tensor) -> torch.Tensor:
        batch, side = images_BSS3.shape[:2]
        return torch.full((batch, 5 * 11, side // 32, side // 32), -20.0)


def test_a_picture_that_cannot_be_drawn_ends_no_evaluation(
    index: ShardIndex, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> None:
        raise UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed")

    monkeypatch.setattr("train.evaluation.evaluator.draw_validation", fails)
    config = DataConfig(train="", val="", batch=8, sides=[64], workers=0)
    loader = Loader(index, config, seed=0, rank=0, world_size=1, device=torch.device("cpu"))
    evaluator, told = Evaluator(EvaluateConfig(side=64, pictures=5), loader, Environment()), list[tuple[int, int]]()
    evaluation = evaluator(Blind(), on_progress=lambda *numbers: told.append(numbers))  # type: ignore[arg-type]
    assert told == [(0, 53), (32, 53)]
    assert evaluation is not None and evaluation.pictures == {} and evaluation.voc.map_area == 0
    assert capsys.readouterr().err.count("drawing a picture of the validation set failed (UnicodeEncodeError") == 1
