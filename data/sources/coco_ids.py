"""Ids of a COCO file, which may be 7, 7.0, "7" or words, as numbers."""

import re
from collections.abc import Sequence
from pathlib import Path

from data.sources.files import nfc

RawId = int | float | str


def plain_id(id_: RawId) -> int | str:
    """The number that an id means; a word, where it means none."""
    if type(id_) is int and 0 <= id_ < 2**63:
        return id_
    if type(id_) is float and id_.is_integer() and 0 <= id_ < 2**53:
        return int(id_)
    text = str(id_).strip()
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else nfc(text)


def number_ids(path: Path, table: str, ids: Sequence[RawId]) -> dict[int | str, int]:
    """The number of each id: its own, or of a word the next one that is free."""
    plain = [plain_id(id_) for id_ in ids]
    numbers: dict[int | str, int] = {}
    free = max((id_ for id_ in plain if isinstance(id_, int)), default=0) + 1
    for id_ in plain:
        if id_ in numbers or id_ == "":
            raise ValueError(f"{path}: expected each id of {table} once, found {id_!r} again; leave one of them out")
        numbers[id_] = id_ if isinstance(id_, int) else free
        free += isinstance(id_, str)
    return numbers


def rows_by_id(numbers: dict[int | str, int], ordered: Sequence[int]) -> dict[int | str, int]:
    row_of = {number: row for row, number in enumerate(ordered)}
    return {plain: row_of[number] for plain, number in numbers.items()}
