"""What shares a canvas: the sample itself, once, with others of its group; each chance independent of the others."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from data.images.augment import AugmentConfig
from data.loading.filling.compose import Canvas, Composer
from data.loading.filling.order import GROUP, BatchPlan, Order, partners
from data.shards.index import ShardIndex

COUNT = 400


def canvases(index: ShardIndex, count: int = COUNT, *, mixed: bool = True, **augment: Any) -> list[Canvas]:
    order = Order(index.shard_sizes, 3, 2)
    samples, epochs = order[0:count]
    plan = BatchPlan(samples, epochs, 96, partners=partners(order, 0, count) if mixed else None)
    compose = Composer(index, AugmentConfig(**augment), seed=3, resize="letterbox")
    return [compose(plan, row) for row in range(count)]


def same(one: Canvas, other: Canvas) -> bool:
    return (
        one.pieces == other.pieces and one.colour == other.colour and np.array_equal(one.boxes_xyxy, other.boxes_xyxy)
    )


def test_a_mosaic_holds_its_sample_once_and_three_of_its_group(index: ShardIndex) -> None:
    samples = Order(index.shard_sizes, 3, 2)[0:COUNT][0]
    where = []
    for row, canvas in enumerate(canvases(index, mosaic=1)):
        shown = [piece.sample for piece in canvas.pieces]
        group = samples[row // GROUP * GROUP :][:GROUP].tolist()
        own = samples[row]
        assert len(shown) == 4 and own in shown and all(sample in group for sample in shown)
        if len(set(group)) == GROUP:  # but for the end of an epoch
            assert len(set(shown)) == 4
        where.append(shown.index(own))
    assert min(np.bincount(where)) > COUNT / 4 * 0.7  # in any of the four rooms


def test_boxes_of_all_images_are_on_the_canvas_and_inside_their_rooms(index: ShardIndex) -> None:
    numbers = [len(canvas.labels) for canvas in canvases(index, mosaic=1)]
    alone = [len(canvas.labels) for canvas in canvases(index, mosaic=0)]
    assert 2 * np.mean(alone) < np.mean(numbers) < 4 * np.mean(alone)
    for canvas in canvases(index, 40, mosaic=1):
        inside = np.zeros(len(canvas.labels), bool)
        for piece in canvas.pieces:
            low, high = np.array(piece.room[:2] * 1) / 96, np.array(piece.room[2:]) / 96
            boxes = canvas.boxes_xyxy
            inside |= (boxes[:, :2] >= low - 1e-6).all(1) & (boxes[:, 2:] <= high + 1e-6).all(1)
        assert inside.all()


@pytest.mark.parametrize("chance", [0.2, 0.5])
def test_each_happens_as_often_as_asked(index: ShardIndex, chance: float) -> None:
    found = canvases(index, mosaic=chance, mixup=chance)
    mosaic = np.array([sum(not piece.blended for piece in canvas.pieces) == 4 for canvas in found])
    mixup = np.array([canvas.pieces[-1].blended for canvas in found])
    spread = 4 * np.sqrt(chance * (1 - chance) / COUNT)
    assert mosaic.mean() == pytest.approx(chance, abs=spread) and mixup.mean() == pytest.approx(chance, abs=spread)
    assert (mosaic & mixup).mean() == pytest.approx(chance**2, abs=spread)


def test_what_one_adds_shifts_nothing_of_the_others(index: ShardIndex) -> None:
    plain, unmixed = canvases(index), canvases(index, mixed=False)
    some, mixed = canvases(index, mosaic=0.5), canvases(index, mixup=0.5)
    assert all(map(same, plain, unmixed))
    alone = [len(canvas.pieces) == 1 for canvas in some]
    assert 0.3 < np.mean(alone) < 0.7
    assert all(same(one, other) for one, other, single in zip(plain, some, alone, strict=True) if single)
    assert all(one.colour == other.colour for one, other in zip(plain, some, strict=True))
    assert all(one.pieces[0] == other.pieces[0] for one, other in zip(plain, mixed, strict=True))
    more = canvases(index, mosaic=0.8)  # a chance that grows takes none away
    assert all(same(one, other) for one, other in zip(some, more, strict=True) if len(one.pieces) == 4)


def test_epochs_differ(index: ShardIndex) -> None:
    sample = int(Order(index.shard_sizes, 3, 2)[0:1][0][0])
    compose = Composer(index, AugmentConfig(mosaic=1), seed=3, resize="letterbox")
    group = np.arange(10, 10 + GROUP - 1)[None]
    drawn = [compose(BatchPlan(np.array([sample]), np.array([epoch]), 96, partners=group), 0) for epoch in range(9)]
    assert not any(same(one, other) for one, other in pairwise(drawn))


def test_another_image_may_be_shown_in_place_of_an_unreadable_one(index: ShardIndex) -> None:
    order = Order(index.shard_sizes, 3, 2)
    plan = BatchPlan(*order[0:GROUP], 96, partners=partners(order, 0, GROUP))
    compose = Composer(index, AugmentConfig(mosaic=1), seed=3, resize="letterbox")
    as_planned = compose(plan, 0)
    lost = as_planned.pieces[2].sample
    replaced = compose(plan, 0, {lost: (lost + 1) % index.num_samples})
    assert [piece.sample for piece in replaced.pieces] == [piece.sample for piece in as_planned.pieces]
    assert [piece.room for piece in replaced.pieces] == [piece.room for piece in as_planned.pieces]
    for place in (0, 1, 3):
        assert replaced.pieces[place] == as_planned.pieces[place]
