"""Messages: counts, lists, names, durations and sizes as people write them."""

import pytest

from data.wording import NUM_LISTED, NUM_NAMED, counted, duration_text, in_words, is_printable, listed, size_text


@pytest.mark.parametrize(
    ("count", "noun", "said"),
    [
        (1, "image", "1 image"),
        (0, "image", "0 images"),
        (1234, "object", "1,234 objects"),
        (1, "class", "1 class"),
        (2, "process", "2 processes"),
    ],
)
def test_a_count_has_its_noun_in_the_right_number(count: int, noun: str, said: str) -> None:
    assert counted(count, noun) == said


def test_of_many_names_the_first_few_are_shown() -> None:
    names = [str(number) for number in range(NUM_NAMED)]
    assert in_words(["cat", "a dog"]) == "cat, a dog" and in_words(names).endswith(f", {NUM_NAMED - 1}")
    assert in_words([*names, "more"]) == f"{', '.join(names)}, ... (101 in all)"


def test_of_many_things_some_are_listed() -> None:
    assert listed(["a", "b"]) == "\n  a\n  b"
    assert listed(range(20)).count("\n") == NUM_LISTED + 1 and listed(range(20)).endswith("\n  ...")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0 s"), (42.4, "42 s"), (91, "1.5 min"), (5399, "90.0 min"), (5400, "1.5 h"), (200_000, "2.3 days")],
)
def test_a_duration_is_in_the_unit_that_a_person_would_choose(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_a_size_is_in_megabytes_or_gigabytes() -> None:
    assert (size_text(1_500_000), size_text(2_500_000_000)) == ("1.5 MB", "2.5 GB")


@pytest.mark.parametrize(
    ("text", "printable"),
    [
        ("valve [open] 猫", True),
        ("Screenshot 9.00.00\u202fAM", True),
        ("traffic\xa0light \u3000", True),
        ("\U0001f469\u200d\U0001f33e", True),
        ("a\tb", False),
        ("a\nb", False),
        ("a\u2028b", False),
        ("\u202ea", False),
        ("\x1b[2J", False),
        ("\udcff", False),
    ],
)
def test_names_of_people_are_printable(text: str, printable: bool) -> None:
    assert is_printable(text) == printable
