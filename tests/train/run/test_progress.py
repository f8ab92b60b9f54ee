"""When an evaluation is due, also across a stop and a resume."""

import pytest

from train.run.progress import Progress


@pytest.mark.parametrize(
    ("images", "evaluated", "due"),
    [
        (0, 0, False),
        (99, 0, False),
        (100, 0, True),
        (100, 1, False),
        (108, 0, True),  # the batch does not divide the epoch
        (199, 1, False),
        (200, 1, True),
        (350, 1, True),  # an epoch shorter than a batch: one evaluation for several
        (350, 3, False),
    ],
)
def test_an_evaluation_is_due_once_an_epoch_has_ended(images: int, evaluated: int, due: bool) -> None:
    assert Progress(images, evaluated).evaluation_due(100) is due


def resumed(progress: Progress) -> Progress:
    again = Progress()
    again.load_state_dict(progress.state_dict())
    return again


def test_a_run_stopped_exactly_at_the_edge_is_evaluated_after_the_resume() -> None:
    again = resumed(Progress(images=200, epochs_evaluated=1, best_map=0.5))
    assert again == Progress(200, 1, 0.5)
    assert again.evaluation_due(100)


def test_a_run_stopped_after_its_evaluation_is_not_evaluated_again() -> None:
    assert not resumed(Progress(images=200, epochs_evaluated=2)).evaluation_due(100)


@pytest.mark.parametrize("batch", [7, 16, 100, 130])
def test_every_epoch_is_evaluated_once_whatever_the_batch(batch: int) -> None:
    progress, at = Progress(), []
    while progress.images < 1000:
        progress.images += batch
        progress = resumed(progress)  # a stop after every batch changes nothing
        if progress.evaluation_due(100):
            at.append(progress.images)
            progress.epochs_evaluated = progress.images // 100
        assert not progress.evaluation_due(100)
    edges = {-(-edge // batch) * batch for edge in range(100, 1001, 100)}
    assert at == sorted(edges)


def test_the_state_is_plain_numbers() -> None:
    state = Progress(64, 1, 0.25).state_dict()
    assert state == {"images": 64, "epochs_evaluated": 1, "best_map": 0.25}
