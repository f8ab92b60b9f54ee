"""What reaches TensorBoard and the console, read back with TensorBoard's own reader."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from data.loading.batch import Batch
from launch.processes.environment import Environment
from train.evaluation.evaluator import Evaluation
from train.evaluation.scores.coco import CocoScores
from train.evaluation.scores.tables import Detections
from train.evaluation.scores.voc import VocScores
from train.loss import Losses
from train.run.display.board import Board, BoardConfig
from train.run.display.events import Events
from train.schedule.duration import RunLength
from train.stepping.step import Norms

BATCH = 8
CLASSES = ("cat", "dog", "bird")
NORMS = Norms(gradient=torch.tensor(0.5), weights=torch.tensor(40.0))
SETTINGS = {"run": "runs/x", "data.batch": 8, "schedule.rate": 1e-3, "anchors": [1.0, 2.0], "weights": None}


def board(folder: Path, start: int = 0, *, every: int = 2, rank: int = 0, epochs: int = 8) -> Board:
    """Board of a run of 100 images an epoch."""
    config = BoardConfig(every_batches=every)
    return Board(folder, config, Environment(rank), CLASSES, start, RunLength(100, epochs), SETTINGS)


def losses(value: float, **others: float) -> Losses:
    """Every term `value`; 4 truths with IoU 0.75 on average, 3 above .5."""
    statistics = {"truths": 4, "iou": 3, "recall": 3, "class_score": 2, "object_score": 1, "any_score": 0.125}
    terms = dict.fromkeys(Losses._fields[:6], value) | statistics | others
    return Losses(**{name: torch.tensor(float(number)) for name, number in terms.items()})


def run(shown: Board, values: list[float], rate: float = 1e-3, side: int = 416) -> None:
    """One batch for every value."""
    images = shown.images
    for value in values:
        images += BATCH
        if shown.add(losses(value), images):
            shown.log(rate, side, NORMS)


def evaluation(first: float = 0.5) -> Evaluation:
    """A third of the cats is found at a score of .6, all dogs at any, there are no birds."""
    right, wrong = (np.zeros((101, 3), np.int64) for _ in range(2))
    right[:61, 0], wrong[:21, 0], right[:, 1] = 1, 3, 4
    ap_11point, ap_area = np.array([0.25, 1.0, np.nan]), np.array([first, 1.0, np.nan])
    scores = VocScores(ap_11point, ap_area, np.array([3, 4, 0]), np.zeros((101, 3)), right, wrong)
    pictures = {f"00000{shade // 25}": np.full((32, 32, 3), shade, np.uint8) for shade in (125, 175)}
    return Evaluation(scores, None, Detections.empty(), pictures, losses=losses(1.5))


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    return found


def points(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value, rel=1e-6)) for event in events(folder).Scalars(tag)]


def test_losses_are_averaged_between_two_lines(tmp_path: Path) -> None:
    with board(tmp_path, every=2) as shown:
        run(shown, [1, 2, 3, 7, 100])  # the last one is on no line yet
    for term in ("xy", "wh", "objectness", "no_objectness", "classes", "prior"):
        assert points(tmp_path, f"loss/{term}") == [(16, 1.5), (32, 5)]
    assert points(tmp_path, "At a glance/loss") == [(16, 9), (32, 30)]


def test_a_line_is_due_every_so_many_batches(tmp_path: Path) -> None:
    with board(tmp_path, every=3) as shown:
        due = []
        for batch in range(1, 8):
            due.append(shown.add(losses(1), batch * BATCH))
            if due[-1]:
                shown.log(1e-3, 416, NORMS)
    assert due == [False, False, True, False, False, True, False]


def test_rate_side_norms_and_speed_are_recorded_over_images(tmp_path: Path) -> None:
    with board(tmp_path) as shown:
        run(shown, [1, 1], rate=2.5e-4, side=320)
        run(shown, [1, 1], rate=5e-4, side=608)
    assert points(tmp_path, "train/rate") == [(16, 2.5e-4), (32, 5e-4)]
    assert points(tmp_path, "train/side") == [(16, 320), (32, 608)]
    assert points(tmp_path, "train/gradient_norm") == [(16, 0.5), (32, 0.5)]
    assert points(tmp_path, "train/weights_norm") == [(16, 40), (32, 40)]
    for tag in ("speed/images_per_s", "speed/data_wait_share"):
        assert [event.step for event in events(tmp_path).Scalars(tag)] == [16, 32]


def test_what_darknet_prints_is_averaged_over_the_truths_of_all_batches(tmp_path: Path) -> None:
    with board(tmp_path, every=2) as shown:
        shown.add(losses(1), 8)
        shown.add(losses(1, truths=12, iou=3, recall=1, class_score=2, object_score=3, any_score=0.375), 16)
        shown.log(1e-3, 416, NORMS)
    for name, value in {"Avg IOU": 6, "Avg Recall": 4, "Class": 4, "Obj": 4, "No Obj": 4}.items():
        assert points(tmp_path, f"darknet/{name}") == [(16, value / 16)]


def test_a_gradient_that_fp16_scaling_left_out_is_no_point(tmp_path: Path) -> None:
    with board(tmp_path, every=1) as shown:
        for number, norm in enumerate((1.0, float("inf"), 2.0), 1):
            shown.add(losses(1), 8 * number)
            shown.log(1e-3, 416, Norms(torch.tensor(norm), torch.tensor(1.0)))
    assert points(tmp_path, "train/gradient_norm") == [(8, 1), (24, 2)]


def test_images_per_second_are_those_of_the_interval(tmp_path: Path) -> None:
    with board(tmp_path) as shown:
        run(shown, [1])
        time.sleep(0.2)
        run(shown, [1])
        time.sleep(1)  # an evaluation, which is not training
        shown.resume_clock()
        run(shown, [1])
        time.sleep(0.1)
        run(shown, [1])
    first, second = (event.value for event in events(tmp_path).Scalars("speed/images_per_s"))
    assert 16 / 1.2 < first <= 16 / 0.2
    assert 16 / 1.1 < second <= 16 / 0.1


def test_batches_without_an_object_are_shown_too(tmp_path: Path) -> None:
    with board(tmp_path, every=1) as shown:
        shown.add(losses(1, truths=0, iou=0, recall=0, class_score=0, object_score=0), BATCH)
        shown.log(1e-3, 416, NORMS)
    for name in ("Avg IOU", "Avg Recall", "Class", "Obj"):
        assert points(tmp_path, f"darknet/{name}") == [(8, 0)]


def test_an_evaluation_is_recorded_class_by_class_with_its_pictures(tmp_path: Path) -> None:
    with board(tmp_path) as shown:
        run(shown, [1, 1, 1])
        shown.log_evaluation(evaluation(), 1)
    assert points(tmp_path, "mAP/voc_area") == [(24, 0.75)]
    assert points(tmp_path, "At a glance/mAP") == [(24, 0.75)]
    assert points(tmp_path, "mAP/voc_11point") == [(24, 0.625)]
    assert points(tmp_path, "class AP/cat") == [(24, 0.5)] and points(tmp_path, "class AP/dog") == [(24, 1)]
    tags = events(tmp_path).Tags()
    assert "class AP/bird" not in tags["scalars"]  # a class without a truth has no AP
    assert sorted(tags["images"]) == [
        *("At a glance/mAP, class by class", "At a glance/picture 000005", "At a glance/picture 000007")
    ]
    (picture,) = events(tmp_path).Images("At a glance/picture 000007")
    assert (picture.step, picture.width, picture.height) == (24, 32, 32)
    assert picture.encoded_image_string.startswith(b"\xff\xd8")  # JPEG


def test_an_evaluation_by_cocos_protocol_shows_its_numbers_beside_vocs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    precision = np.full((10, 101, 3), 0.25)
    precision[:, :, 1], precision[:, :, 2] = 0.75, np.nan
    twelve = np.linspace(0.1, 0.65, 12)
    twelve[3] = np.nan  # no small objects
    with board(tmp_path) as shown:
        run(shown, [1, 1, 1])
        shown.log_evaluation(evaluation()._replace(coco=CocoScores(twelve, precision, precision.mean((0, 1))[None])), 1)
    assert points(tmp_path, "mAP/coco") == points(tmp_path, "At a glance/mAP") == [(24, 0.1)]
    assert points(tmp_path, "coco/AP") == [(24, 0.1)] and points(tmp_path, "coco/ARl") == [(24, 0.65)]
    assert points(tmp_path, "mAP/voc_area") == [(24, 0.75)]
    assert points(tmp_path, "class AP/cat") == [(24, 0.25)] and points(tmp_path, "class AP/dog") == [(24, 0.75)]
    assert "coco/APs" not in events(tmp_path).Tags()["scalars"]
    assert "epoch 1/8: AP@[.5:.95] 0.1000  mAP@.5 0.7500" in capsys.readouterr().out


def test_a_last_batch_that_holds_several_epochs_ends_in_the_last_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with board(tmp_path, epochs=1) as shown:
        shown.log_evaluation(evaluation(), 3)
    assert "epoch 1/1: mAP@.5" in capsys.readouterr().out


def test_a_resumed_run_leaves_one_value_at_every_place(tmp_path: Path) -> None:
    with board(tmp_path) as shown:
        run(shown, [1, 1, 1, 1])
        shown.log_evaluation(evaluation(0.5), 1)  # the checkpoint is here, at 32 images
        run(shown, [2, 2, 2, 2])
        shown.log_evaluation(evaluation(0.7), 2)  # lost
    with board(tmp_path, start=32) as shown:
        run(shown, [3, 3, 3, 3, 3, 3])
        shown.log_evaluation(evaluation(0.9), 2)
    assert points(tmp_path, "loss/xy") == [(16, 1), (32, 1), (48, 3), (64, 3), (80, 3)]
    assert points(tmp_path, "class AP/cat") == [(32, 0.5), (80, 0.9)]
    assert [event.step for event in events(tmp_path).Images("At a glance/picture 000005")] == [32, 80]


def test_a_run_started_over_leaves_nothing_of_the_one_before(tmp_path: Path) -> None:
    with board(tmp_path) as shown:
        run(shown, [1, 1, 1, 1])
    with board(tmp_path) as shown:  # the first ended before its first checkpoint
        run(shown, [2, 2])
    assert points(tmp_path, "loss/xy") == [(16, 2)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_term_that_is_no_number_is_named_and_not_in_the_mean(
    tmp_path: Path, value: float, capsys: pytest.CaptureFixture[str]
) -> None:
    with board(tmp_path, start=80) as shown:
        run(shown, [1, 1])
        shown.add(losses(1, wh=value, classes=value), 104)
        shown.add(losses(1), 112)
        means = shown.log(1e-3, 416, NORMS)
    assert "infinite between images 96 and 112: wh, classes on rank 0; those steps" in capsys.readouterr().err
    assert points(tmp_path, "loss/wh") == [(96, 1), (112, 1)] and float(means.wh) == 1


def test_the_rank_with_the_bad_term_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Environment, "gather", lambda _self, own: [[], own, ["xy"]])  # what rank 0 of 3 would hear
    with board(tmp_path, every=1) as shown:
        shown.add(losses(1, prior=float("nan")), 8)
        assert not shown.log(1e-3, 416, NORMS).xy.isfinite()  # of no batch at all
    assert "between images 0 and 8: prior on rank 1; xy on rank 2;" in capsys.readouterr().err


def test_other_ranks_take_part_and_show_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with board(tmp_path / "board", rank=1) as shown:
        run(shown, [1, 1, 1, 1])
        shown.log_evaluation(evaluation(), 1)
        shown.resume_clock()
    assert not (tmp_path / "board").exists()
    assert capsys.readouterr().out == ""


def slow(batches: int, seconds: float) -> Iterator[Any]:
    """Every pixel of a batch is its number."""
    for number in range(batches):
        time.sleep(seconds)
        images = torch.full((1, 32, 32, 3), number, dtype=torch.uint8)
        yield Batch(images, torch.tensor([[[0.5, 0.5, 0.5, 0.5, 1]]]), torch.zeros(1), [], 32)


def test_the_wait_for_batches_is_measured_and_the_batches_stay(tmp_path: Path) -> None:
    with board(tmp_path, every=4) as shown:
        numbers = []
        for batch in shown.timed(slow(8, 0.03)):
            numbers.append(int(batch.images[0, 0, 0, 0]))
            time.sleep(0.03 if numbers[-1] < 4 else 0)  # the training
            run(shown, [1])
    assert numbers == list(range(8))
    first, second = (event.value for event in events(tmp_path).Scalars("speed/data_wait_share"))
    assert 0.2 < first < 0.75
    assert max(first, 0.5) < second <= 1


def test_a_log_file_gets_plain_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with board(tmp_path) as shown:
        run(shown, [1, 1, 2, 2], rate=2e-4, side=352)
        shown.log_evaluation(evaluation(), 3)
    printed = capsys.readouterr().out
    assert all(letter.isprintable() or letter == "\n" for letter in printed)
    first, second, third, *_ = printed.splitlines()
    assert first.split()[:6] == ["epoch", "1/8", "16/800", "images", "loss", "6.000"] and second.split()[2] == "32/800"
    for part in ("iou 0.75", "rate 2.0e-04", "side 352", "images/s", "waits", "left "):
        assert part in first
    assert third.startswith("epoch 3/8: mAP@.5 0.7500 (11-point 0.6250)  cat 0.50  dog 1.00  left ")


def test_a_run_that_has_seen_more_than_its_epochs_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with board(tmp_path / "board", 304, epochs=2):
        pass
    assert "304 images seen" in capsys.readouterr().out


def test_the_first_batch_of_a_start_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with board(tmp_path / "board", start=16) as shown:
        list(shown.timed(slow(3, 0)))
    drawn = cv2.imread(str(tmp_path / "training_batch.png"), cv2.IMREAD_COLOR_RGB)
    assert drawn is not None and (drawn[2, 2] == 0).all() and (drawn > 100).any()  # number 0, and the box of the dog
    (event,) = events(tmp_path / "board").Images("At a glance/training batch")
    assert event.step == 16 and (event.height, event.width) == drawn.shape[:2]
    with board(tmp_path / "other") as shown:  # classes are three: a label 7 cannot be drawn
        bad = Batch(torch.zeros((1, 32, 32, 3)), torch.tensor([[[0.5, 0.5, 0.5, 0.5, 7]]]), torch.zeros(1), [], 32)
        assert list(shown.timed(iter([bad]))) == [bad]
    assert "drawing a training batch failed (IndexError" in capsys.readouterr().err


def test_the_start_says_how_long_the_run_will_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with board(tmp_path, start=200) as shown:
        shown.start_clock(2.0)
        shown.start_clock(None)  # stopped in its warm-up
    assert capsys.readouterr().err == "time     5.0 min without evaluations, at 2 images/s in the warm-up\n"


def test_an_evaluation_that_takes_long_says_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with board(tmp_path) as shown:
        shown.show_progress(64, 5000)
        monkeypatch.setattr("train.run.display.console.ASIDE_S", -1.0)
        shown.show_progress(1280, 5000)
    assert capsys.readouterr().out.splitlines()[0] == "evaluating: 1,280 of 5,000 images"


def test_numbers_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match=r"board\.every_batches=0: expected at least 1"):
        BoardConfig(every_batches=0)


@pytest.mark.parametrize("where", ["scalars", "evaluation", "close"])
def test_a_log_that_cannot_be_written_ends_nothing_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def close(events: Events, close: Callable[[Events], None] = Events.close) -> None:
        close(events)
        full()

    with board(tmp_path, every=1) as shown:
        run(shown, [1])
        with monkeypatch.context() as patch:
            patch.setattr(Events, where, full)
            run(shown, [2, 3])
            shown.log_evaluation(evaluation(0.25), 1)
        run(shown, [4])
        shown.log_evaluation(evaluation(0.5), 2)
        run(shown, [5])
        if where == "close":
            monkeypatch.setattr(Events, where, close)
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        "the TensorBoard log failed ([Errno 28] No space left on device); training continues"
    ]
    assert "epoch 2/8: mAP@.5 0.7500" in printed.out
    if where != "close":
        assert points(tmp_path, "loss/xy")[-1] == (40, 5)
        assert points(tmp_path, "class AP/cat")[-1] == (32, 0.5)


def test_a_folder_that_cannot_be_made_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "board").write_text("a file where the folder should be")
    with board(tmp_path / "board", every=1) as shown:
        run(shown, [1])
        shown.log_evaluation(evaluation(), 1)
    printed = capsys.readouterr()
    assert "the TensorBoard log failed" in printed.err and "epoch 1/8: mAP@.5" in printed.out
