"""When an evaluation is due, also across a stop and a resume."""

import pytest

from train.schedule.progress import Progress


@pytest.mark.parametrize(
    ("images", "evaluated", "due"),
    [
        (0, 0, False),
        (99, 0, False),
        (100, 0, True),
        (100, 100, False),
        (108, 0, True),  # the batch does not divide the epoch
        (199, 108, False),
        (200, 108, True),
        (350, 100, True),  # an epoch shorter than a batch: one evaluation for several
        (350, 350, False),
        (990, 910, True),  # the end, between two evaluations
        (990, 990, False),
    ],
)
def test_an_evaluation_is_due_once_an_epoch_or_the_run_has_ended(images: int, evaluated: int, due: bool) -> None:
    assert Progress(images, evaluated).evaluation_due(100, end=990) is due


def test_a_run_whose_set_has_grown_is_evaluated_at_its_end() -> None:
    """Three epochs of 200 images were evaluated; then there are 420, and three epochs end at 1,260."""
    progress = Progress(images=600, images_evaluated=600)
    assert not progress.evaluation_due(420, 1260)
    progress.images = 1264
    assert progress.evaluation_due(420, 1260)


def test_patience_counts_evaluations_without_a_better_one() -> None:
    progress = Progress()
    seen = []
    for mean_ap in (0.1, 0.3, 0.2, 0.3, 0.25, 0.4, 0.1):
        best = progress.evaluated(mean_ap)
        seen.append((best, progress.out_of_patience(3), resumed(progress).out_of_patience(None)))
    assert [best for best, _, _ in seen] == [True, True, False, False, False, True, False]
    assert [over for _, over, _ in seen] == [False, False, False, False, True, False, False]
    assert not any(never for _, _, never in seen)


def test_a_state_that_counted_epochs_is_understood() -> None:
    progress = Progress()
    progress.load_state_dict({"images": 160, "epochs_evaluated": 3, "best_map": 0.5})
    assert progress == Progress(160, 160, 0.5)


def resumed(progress: Progress) -> Progress:
    again = Progress()
    again.load_state_dict(progress.state_dict())
    return again


def test_a_run_stopped_exactly_at_the_edge_is_evaluated_after_the_resume() -> None:
    again = resumed(Progress(images=200, images_evaluated=100, best_map=0.5))
    assert again == Progress(200, 100, 0.5)
    assert again.evaluation_due(100, 900)


def test_a_run_stopped_after_its_evaluation_is_not_evaluated_again() -> None:
    assert not resumed(Progress(images=200, images_evaluated=200)).evaluation_due(100, 900)


@pytest.mark.parametrize("batch", [7, 16, 100, 130])
def test_every_epoch_is_evaluated_once_whatever_the_batch(batch: int) -> None:
    progress, at = Progress(), []
    while progress.images < 1000:
        progress.images += batch
        progress = resumed(progress)  # a stop after every batch changes nothing
        if progress.evaluation_due(100, 1000):
            at.append(progress.images)
            progress.evaluated(0.5)
        assert not progress.evaluation_due(100, 1000)
    edges = {-(-edge // batch) * batch for edge in range(100, 1001, 100)}
    assert at == sorted(edges)


def test_the_state_is_plain_numbers() -> None:
    state = Progress(64, 1, 0.25, 2).state_dict()
    assert state == {"images": 64, "images_evaluated": 1, "best_map": 0.25, "evaluations_since_best": 2}


@pytest.mark.parametrize("bad", [{"images": -5}, {"images": 8, "images_evaluated": "8"}, {"images": 8.5}])
def test_what_is_no_position_is_refused(bad: dict[str, int | float]) -> None:
    progress = Progress(images=3)
    with pytest.raises(ValueError, match=r"expected whole numbers from 0, found \{'images"):
        progress.load_state_dict(bad)
    assert progress == Progress(images=3)


def test_what_is_no_best_map_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a number as best mAP, found '0\.5'"):
        Progress().load_state_dict({"images": 8, "best_map": "0.5"})  # type: ignore[dict-item]
