"""Random words by key and counter."""

from data.randomness import random_bits


def test_random_words_are_a_function_of_their_key() -> None:
    words = {key: tuple(random_bits(4, *key).tolist()) for key in [(0,), (1,), (0, 1), (0, 0, 1), (0, 1, 1), (2**63,)]}
    assert len(set(words.values())) == len(words)
    assert tuple(random_bits(9, 0, 1)[:4].tolist()) == words[0, 1]  # more of them: the same ones first
    assert random_bits(2, 0).tolist() == random_bits(2, 0, 0, 0).tolist()
