"""Random numbers are those of their purpose, and nothing else draws any."""

import ast
import pickle
import timeit
from pathlib import Path

import numpy as np
import pytest

from data.randomness import Generators, Purpose, generator, random_bits
from tests.conftest import ROOT


def test_words_are_a_function_of_their_place() -> None:
    places = [(purpose, seed, epoch) for purpose in Purpose for seed in (0, 1, 2**63) for epoch in (0, 1, 2**40)]
    words = {place: tuple(random_bits(4, *place).tolist()) for place in places}
    assert len(set(words.values())) == len(words)  # no two purposes, seeds or epochs share draws
    for place, found in words.items():
        assert tuple(random_bits(9, *place)[:4].tolist()) == found  # more words: the same ones first
        assert all(tuple(random_bits(4 - n, *place, first=n).tolist()) == found[n:] for n in range(5))
        assert random_bits(3, *place, first=9).tolist() == random_bits(12, *place)[9:].tolist()


def test_the_numbers_of_earlier_versions_stay() -> None:
    """Shards, their order, sides and drawn pictures are those that runs from the same seed have always had."""
    assert random_bits(2, Purpose.SHARD_ORDER, 3, 5).tolist() == np.random.Philox(key=[3, 5]).random_raw(2).tolist()
    assert Purpose.WRITING == Purpose.PICTURE == Purpose.SHARD_ORDER == 0
    assert (Purpose.SAMPLE_ORDER, Purpose.SIDE, Purpose.PLACEMENT) == (1, 2, 3)
    assert random_bits(1, Purpose.WRITING, 0).tolist() == [213_000_021_201_967_259]


@pytest.mark.parametrize("place", [(Purpose.PLACEMENT, 0, 0), (Purpose.COLOUR, 10**6, 2**40), (Purpose.SIDE, 7, 5)])
def test_a_moved_generator_is_a_new_one(place: tuple[Purpose, int, int]) -> None:
    purpose, epoch, sample = place
    moved = Generators(2**40 + 7)
    moved(Purpose.SHARD_ORDER, 3, 3).integers(0, 100, 3, np.uint32)  # leaves half a word behind
    for ours in (moved, pickle.loads(pickle.dumps(moved))):
        rng, fresh = ours(purpose, epoch, sample), generator(purpose, 2**40 + 7, epoch, sample)
        assert rng.random(5).tolist() == fresh.random(5).tolist()
        assert rng.permutation(9).tolist() == fresh.permutation(9).tolist()


def test_moving_is_cheaper_than_making() -> None:
    moved = Generators(1)
    cheap = min(timeit.repeat(lambda: moved(Purpose.COLOUR, 1, 1), number=300, repeat=7))
    dear = min(timeit.repeat(lambda: generator(Purpose.COLOUR, 1, 1, 1), number=300, repeat=7))
    assert cheap < dear / 2


def sources() -> list[Path]:
    return [path for package in ("data", "train", "launch") for path in (ROOT / package).rglob("*.py")]


def test_philox_is_known_in_one_place_and_every_purpose_is_used() -> None:
    used, names = set(), set()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                if node.attr in ("Philox", "default_rng", "RandomState"):
                    names.add(path.relative_to(ROOT).as_posix())
                if isinstance(node.value, ast.Name) and node.value.id == "Purpose":
                    used.add(node.attr)
    assert names == {"data/randomness.py"}
    assert used == set(Purpose.__members__)
