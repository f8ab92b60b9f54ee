"""The ids of a COCO file, which may be 7, 7.0, "7" or words, as numbers."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.sources.rules.files import nfc
from data.sources.rules.objects import Objects, extend, slices

RawId = int | float | str


def plain_id(id_: RawId) -> int | str:
    """The number that an id means, or a word if it means none."""
    if type(id_) is int and 0 <= id_ < 2**63:
        return id_
    if type(id_) is float and id_.is_integer() and 0 <= id_ < 2**53:
        return int(id_)
    text = str(id_).strip()
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else nfc(text)


def number_ids(path: Path, table: str, ids: Sequence[RawId]) -> dict[int | str, int]:
    """The number of each id: its own, or for a word the next free one."""
    plain = [plain_id(id_) for id_ in ids]
    numbers: dict[int | str, int] = {}
    free = max((id_ for id_ in plain if isinstance(id_, int)), default=0) + 1
    for id_ in plain:
        if id_ in numbers or id_ == "":
            raise ValueError(f"{path}: expected each id of {table} once, found {id_!r:.200} again; leave one out")
        numbers[id_] = id_ if isinstance(id_, int) else free
        free += isinstance(id_, str)
    return numbers


def rows_by_id(numbers: dict[int | str, int], ordered: Sequence[int]) -> dict[int | str, int]:
    row_of = {number: row for row, number in enumerate(ordered)}
    return {plain: row_of[number] for plain, number in numbers.items()}


class ReferringObjects:
    """Objects that refer to images and categories by ids, which may become known later."""

    def __init__(self, path: Path) -> None:
        self._path, self._objects = path, Objects.of_rows(())
        self._images = np.empty(0, np.int64)  # ids; for words -1, -2, ... in the order of `words`
        self._words: dict[str, int] = {}
        self._categories: dict[int | str, int] = {}  # id -> its number in `label`

    def __len__(self) -> int:
        return len(self._objects)

    def add(self, block: NDArray[Any], image_ids: Sequence[RawId], category_ids: Sequence[RawId]) -> None:
        """Adds objects. block: of ROW, without pictures and labels."""
        extend(self._images, np.array([self._code(id_) for id_ in image_ids], np.int64))
        categories = self._categories
        block["label"] = [categories.setdefault(plain_id(id_), len(categories)) for id_ in category_ids]
        self._objects.extend(Objects.of_blocks([block]))

    def _code(self, id_: RawId) -> int:
        plain = plain_id(id_)
        return plain if isinstance(plain, int) else self._words.setdefault(plain, -1 - len(self._words))

    def objects(self, image_rows: dict[int | str, int], category_rows: dict[int | str, int]) -> Objects:
        """The objects; can be called once."""
        objects, codes = self._objects, self._images
        known = np.array(
            [
                [self._words.get(id_, 0) if isinstance(id_, str) else id_, row]
                for id_, row in image_rows.items()
                if isinstance(id_, int) or id_ in self._words
            ],
            np.int64,
        ).reshape(-1, 2)
        known = known[np.argsort(known[:, 0])]
        label_of = np.array([category_rows.get(id_, -1) for id_ in self._categories] or [-1], np.int32)
        for part in slices(len(objects)):
            places = np.searchsorted(known[:, 0], codes[part]).clip(max=max(len(known) - 1, 0))
            there = known[places, 0] == codes[part] if len(known) else np.zeros(len(places), np.bool_)
            labels = label_of[objects.label[part]]
            for row in np.flatnonzero(~there | (labels < 0))[:1].tolist():
                raise self._unknown(objects, codes, part.start + row, bool(there[row]))
            objects.picture[part], objects.label[part] = known[places, 1], labels
        return objects

    def _unknown(self, objects: Objects, codes: NDArray[np.int64], row: int, image_there: bool) -> ValueError:
        column, table = ("category_id", "categories") if image_there else ("image_id", "images")
        code = int(codes[row])
        found: int | str = code if code >= 0 else list(self._words)[-1 - code]
        if image_there:
            found = list(self._categories)[objects.label[row]]
        return ValueError(
            f"{self._path}: annotation {objects.number[row]}: expected {column} from {table}, found {found!r:.200}; "
            "correct it, or remove the annotation"
        )
