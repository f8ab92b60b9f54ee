"""Kinds of errors: by hand, and against the rules written down as plain loops."""

import numpy as np
import pytest

from data.images.boxes import iou
from tests.train.evaluation.scores.test_voc import BOX, FAR, detections, random_case, truths
from train.evaluation.scores.tables import Detections
from train.reports.errors import BACKGROUND, BOTH, CONFUSION, DUPLICATE, KINDS, LOCALISATION, MISSED, find_errors

NEAR = (10.0, 10.0, 50.0, 28.0)  # .45 of BOX
FAINT = (10.0, 10.0, 50.0, 13.0)  # .075 of BOX
CLOSE = (10.0, 10.0, 50.0, 42.0)  # .8 of BOX


def kinds(found, truth, num_classes=2):
    return find_errors(found, truth, num_classes).kind_N.tolist()


# --- by hand ---


def test_every_kind_is_told_from_the_others():
    truth = truths((0, 0, BOX, 0), (0, 1, FAR, 0), (1, 0, BOX, 0))
    found = detections(
        (0, 0, 0.9, BOX),  # right
        (0, 0, 0.8, CLOSE),  # again
        (0, 0, 0.7, NEAR),
        (0, 0, 0.6, FAINT),
        (0, 1, 0.5, BOX),  # found, as something else
        (0, 1, 0.4, NEAR),  # neither its class nor its place
        (2, 0, 0.3, BOX),  # an image with nothing on it
    )
    errors = find_errors(found, truth, 2)
    assert errors.kind_N.tolist() == [-1, DUPLICATE, LOCALISATION, BACKGROUND, CONFUSION, BOTH, BACKGROUND]
    assert errors.missed_M.tolist() == [False, True, True]
    assert errors.counts_KC.tolist() == [[1, 0], [0, 1], [1, 0], [2, 0], [0, 1], [1, 1]]


def test_the_borders_between_kinds():
    truth = truths((0, 0, (0, 0, 10, 10), 0), (1, 1, (0, 0, 10, 10), 0))
    assert kinds(detections((0, 0, 0.9, (0, 0, 10, 5))), truth) == [LOCALISATION]  # .5 is not yet right
    assert kinds(detections((1, 0, 0.9, (0, 0, 10, 5))), truth) == [CONFUSION]
    assert kinds(detections((0, 0, 0.9, (0, 0, 10, 1))), truth) == [LOCALISATION]  # .1
    assert kinds(detections((1, 0, 0.9, (0, 0, 10, 1))), truth) == [BACKGROUND]
    assert kinds(detections((1, 0, 0.9, (0, 0, 10, 1.1))), truth) == [BOTH]


def test_of_two_reasons_the_first_is_given():
    """Badly placed for its own class goes before well placed for another; that goes before a duplicate."""
    truth = truths((0, 0, BOX, 0), (0, 1, NEAR, 0))
    assert kinds(detections((0, 0, 0.9, NEAR)), truth) == [LOCALISATION]
    truth = truths((0, 0, BOX, 0), (0, 1, CLOSE, 0))
    assert kinds(detections((0, 0, 0.9, BOX), (0, 0, 0.8, CLOSE)), truth) == [-1, CONFUSION]


def test_ignored_truths_do_not_exist():
    truth = truths((0, 0, BOX, 1), (0, 1, FAR, 0))
    assert kinds(detections((0, 0, 0.9, BOX), (0, 0, 0.8, NEAR), (0, 1, 0.7, BOX)), truth) == [
        -1, BACKGROUND, BACKGROUND,
    ]  # fmt: skip
    assert find_errors(Detections.empty(), truth, 2).missed_M.tolist() == [False, True]


def test_a_truth_that_an_error_is_about_is_not_missed():
    truth = truths((0, 0, BOX, 0), (1, 0, BOX, 0), (2, 0, BOX, 0))
    found = detections((0, 0, 0.9, NEAR), (1, 1, 0.9, BOX), (2, 1, 0.9, NEAR))
    assert find_errors(found, truth, 2).missed_M.tolist() == [False, False, True]


def test_what_repairs_are_worth():
    truth = truths((0, 0, BOX, 0), (1, 0, BOX, 0))
    right = (0, 0, 0.9, BOX)

    def cost(*others):
        return dict(zip(KINDS, find_errors(detections(right, *others), truth, 2).cost_K.round(9), strict=True))

    nothing = dict.fromkeys(KINDS, 0.0)
    assert cost() == nothing | {"missed": 0.5}
    assert cost((1, 0, 0.8, NEAR)) == nothing | {"localisation": 0.5}
    assert cost((1, 1, 0.8, BOX)) == nothing | {"confusion": 0.5}
    # before the right one: precision 1/2, for half of the truths
    assert cost((2, 0, 0.95, BOX)) == nothing | {"background": 0.25, "missed": 0.25}
    assert cost((0, 1, 0.95, NEAR)) == nothing | {"missed": 0.5}  # in a class without truths, which has no AP
    # a second one about the same truth is taken out, not made right
    assert cost((1, 0, 0.8, NEAR), (1, 1, 0.7, BOX)) == nothing | {"localisation": 0.5}
    # so is one about a truth that is found; the better of the two becomes right
    assert cost((0, 0, 0.95, NEAR), (1, 0, 0.8, NEAR)) == nothing | {"localisation": 0.75}


def test_nothing_and_everything_found():
    truth = truths((0, 0, BOX, 0), (1, 1, BOX, 0))
    errors = find_errors(Detections.empty(), truth, 2)
    assert errors.counts_KC[MISSED].tolist() == [1, 1] and (errors.cost_K == 0).all()  # AP stays 0: nothing is found
    errors = find_errors(detections((0, 0, 0.9, BOX), (1, 1, 0.9, BOX)), truth, 2)
    assert errors.counts_KC.sum() == 0 and (errors.cost_K == 0).all()


# --- against plain loops ---


def slow_errors(found, truth, num_classes):
    """Kinds, missed truths and costs, one detection after the other."""
    overlap = iou(found.boxes_xyxy_px[:, None], truth.boxes_xyxy_px)
    best_first = sorted(range(len(found.scores)), key=lambda i: (-found.scores[i], found.images[i], i))
    taken, right, ignored = {}, set(), set()
    for i in best_first:
        group = (found.images[i], found.labels[i])
        mine = [j for j in range(len(truth.labels)) if (truth.images[j], truth.labels[j]) == group]
        best = max(mine, key=lambda j: overlap[i, j], default=None)  # the first of equals
        if best is not None and overlap[i, best] > 0.5:
            if truth.ignored[best]:
                ignored.add(i)
            elif best not in taken:
                taken[best] = i
                right.add(i)

    kind, about = {}, {}
    for i in best_first:
        if i in right or i in ignored:
            continue
        counted = [j for j in range(len(truth.labels)) if truth.images[j] == found.images[i] and not truth.ignored[j]]
        own = [j for j in counted if truth.labels[j] == found.labels[i]]
        other = [j for j in counted if truth.labels[j] != found.labels[i]]
        best_own, best_other = (max((overlap[i, j] for j in group), default=0.0) for group in (own, other))
        if 0.1 <= best_own <= 0.5:
            kind[i], about[i] = LOCALISATION, max(own, key=lambda j: overlap[i, j])
        elif best_other >= 0.5:
            kind[i], about[i] = CONFUSION, max(other, key=lambda j: overlap[i, j])
        elif best_own > 0.5:
            kind[i] = DUPLICATE
        elif max((overlap[i, j] for j in counted), default=0.0) <= 0.1:
            kind[i] = BACKGROUND
        else:
            kind[i] = BOTH
    missed = {
        j for j in range(len(truth.labels)) if not truth.ignored[j] and j not in taken and j not in about.values()
    }
    repaired = {}
    for i in best_first:
        if i in about and about[i] not in taken and about[i] not in repaired.values():
            repaired[i] = about[i]

    def mean_ap(fixed):
        aps = []
        for label in range(num_classes):
            num = sum(1 for j in range(len(truth.labels)) if truth.labels[j] == label and not truth.ignored[j])
            if num == 0:
                continue
            verdicts = []
            for i in best_first:
                is_fixed = i in kind and kind[i] == fixed
                now = truth.labels[repaired[i]] if is_fixed and i in repaired else found.labels[i]
                if now == label and i not in ignored and (not is_fixed or i in repaired):
                    verdicts.append(i in right or is_fixed)
            if fixed == MISSED:
                num -= sum(1 for j in missed if truth.labels[j] == label)
            precision = [sum(verdicts[: n + 1]) / (n + 1) for n in range(len(verdicts))]
            aps.append(sum(max(precision[n:]) for n, verdict in enumerate(verdicts) if verdict) / max(num, 1))
        return float(np.mean(aps)) if aps else 0.0

    kinds_N = [kind.get(i, -1) for i in range(len(found.scores))]
    return kinds_N, missed, [mean_ap(k) - mean_ap(None) for k in range(len(KINDS))]


@pytest.mark.parametrize("seed", range(40))
def test_equals_the_plain_loops(seed):
    found, truth = random_case(np.random.default_rng(seed))
    errors = find_errors(found, truth, 4)
    kinds_N, missed, costs = slow_errors(found, truth, 4)
    assert errors.kind_N.tolist() == kinds_N
    assert set(np.flatnonzero(errors.missed_M).tolist()) == missed
    np.testing.assert_allclose(errors.cost_K, costs, atol=1e-12)
    assert (errors.cost_K > -1e-12).all()
    assert errors.counts_KC.sum() == (errors.kind_N >= 0).sum() + len(missed)


@pytest.mark.parametrize("at_once", [1, 7])
def test_in_parts_of_any_size(at_once, monkeypatch):
    found, truth = random_case(np.random.default_rng(1))
    whole = find_errors(found, truth, 4)
    monkeypatch.setattr("train.reports.errors.AT_ONCE", at_once)
    for one, other in zip(find_errors(found, truth, 4), whole, strict=True):
        np.testing.assert_array_equal(one, other)


def test_all_kinds_come_up_in_the_random_cases():
    counts = sum(find_errors(*random_case(np.random.default_rng(seed)), 4).counts_KC.sum(1) for seed in range(40))
    assert (counts > 20).all()
