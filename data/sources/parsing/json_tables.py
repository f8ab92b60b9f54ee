"""Large JSON, read as a stream: some tables of an object, as text of whole elements, a few megabytes at a time.

    {"info": ..., "images": [{...}, {...}], "annotations": [{...}, ...]}

Brackets are matched for a whole block of bytes at once, in numpy. The text outside the tables is kept: with empty
tables it must be valid JSON by itself.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 22  # bytes
MAX_ELEMENT = 1 << 28  # bytes of one element, or of all text outside the tables
QUOTE, ESCAPE = ord('"'), ord("\\")
STEP = np.zeros(256, np.int8)  # what a byte outside strings adds to the depth
STEP[[ord("{"), ord("[")]], STEP[[ord("}"), ord("]")]] = 1, -1
KEY = re.compile(rb'(?<!\\)"([^"\\]*)"\s*:\s*\Z')


class Elements(NamedTuple):
    """Consecutive elements of one table, with commas between them."""

    table: str
    text: bytes
    place: int  # offset of the text in the file


class Tables:
    """`for elements in Tables(path, names)`; then `rest` is the file with all tables empty.

    ValueError if a table comes twice, of which JSON readers would silently take the last one.
    """

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        self._path, self._names = path, {name.encode(): name for name in names}
        self.rest = bytearray()
        self._opened = set[str]()
        self._depth, self._inside, self._table = 0, False, ""
        self._text, self._place, self._scanned, self._first = bytearray(), 0, 0, True

    def __iter__(self) -> Iterator[Elements]:
        with self._path.open("rb") as file:
            if file.read(3) != b"\xef\xbb\xbf":  # a byte order mark
                file.seek(0)
            while block := file.read(BLOCK):
                while block.endswith(b"\\") and (more := file.read(1)):
                    block += more
                self._text += block
                yield from self._scan(block)
                if len(self._text) > MAX_ELEMENT or len(self.rest) > MAX_ELEMENT:
                    break
        self.rest += self._text if not self._table or self._first else self._text.lstrip().removeprefix(b",")

    def _scan(self, block: bytes) -> Iterator[Elements]:
        """Scans the block that ends the text so far; all before it has been scanned."""
        places, steps = self._brackets(block)
        depths = self._depth + np.cumsum(steps, dtype=np.int64)
        self._depth = int(depths[-1]) if len(depths) else self._depth
        places += self._scanned
        self._scanned += len(block)
        edges = np.flatnonzero(
            (steps > 0) & (depths == 2) | (steps < 0) & (depths == 1)
        )  # of values of the file's keys
        for edge in edges.tolist():
            place, opens = int(places[edge]), bool(steps[edge] > 0)
            if opens:
                self._open(place)
            elif self._table:
                yield from self._elements(place)
                self._table = ""
        ends = places[(steps < 0) & (depths == 2)] if self._table else places[:0]
        ends = ends[ends >= self._place]
        if len(ends):
            yield from self._elements(int(ends[-1]) + 1)

    def _brackets(self, block: bytes) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
        """Brackets outside strings: their offsets in the block, and what they add to the depth."""
        letters = np.frombuffer(block, np.uint8)
        quotes = np.flatnonzero(letters == QUOTE)
        if b"\\" in block:
            before = letters[np.maximum(quotes - 1, 0)] == ESCAPE
            escaped = [row for row in np.flatnonzero(before).tolist() if _is_escaped(block, int(quotes[row]))]
            quotes = np.delete(quotes, escaped)
        places = np.flatnonzero(STEP[letters])
        inside = (np.searchsorted(quotes, places) + self._inside) % 2 == 1
        self._inside ^= bool(len(quotes) % 2)
        places = places[~inside]
        return places, STEP[letters[places]]

    def _open(self, place: int) -> None:
        head = self._take(place + 1)
        self.rest += head
        key = KEY.search(head[:-1][-1000:])
        if key and head.endswith(b"["):
            self._table, self._first = self._names.get(key[1], ""), True
            if self._table in self._opened:
                raise ValueError(
                    f"{self._path}: expected {self._table} once, found it a second time; keep one, or join their rows"
                )
            self._opened |= {self._table} - {""}

    def _elements(self, stop: int) -> Iterator[Elements]:
        """The elements up to this offset in the file."""
        place, text = self._place, self._take(stop)
        begin = len(text) - len(text.lstrip())
        if begin == len(text):
            return
        if not self._first:  # after a comma; if it is missing, or nothing follows it, the text does not decode
            begin += text[begin : begin + 1] == b","
            if not begin or not text[begin:].strip() or text[begin - 1 : begin] != b",":
                text, begin = b"," + text, 0
        yield Elements(self._table, text[begin:], place + begin)
        self._first = False

    def _take(self, stop: int) -> bytes:
        count = stop - self._place
        text = bytes(self._text[:count])
        del self._text[:count]
        self._place = stop
        return text


def _is_escaped(block: bytes, quote: int) -> bool:
    before = block[:quote] if quote < 64 else block[quote - 64 : quote]
    run = len(before) - len(before.rstrip(b"\\"))
    return (run if run < 64 else quote - len(block[:quote].rstrip(b"\\"))) % 2 == 1
