"""index.npz, written part by part: what it takes in memory does not grow with the set. The bytes are `numpy.savez`'s."""

import shutil
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.files import part_name, replacing

COPIED = 1 << 20  # bytes at once


class Packing:
    """Columns that grow, each in a file of its own beside `path`, until `pack` puts them together.

    While entered. kinds: the type of each column's elements.
    """

    def __init__(self, path: Path, kinds: Mapping[str, "np.dtype[Any]"]) -> None:
        self._path, self._kinds = path, dict(kinds)
        self._parts = {name: part_name(path.with_suffix(f".{name}")) for name in kinds}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._files = ExitStack()

    def __enter__(self) -> "Packing":
        self._open = {name: self._files.enter_context(part.open("w+b")) for name, part in self._parts.items()}
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()
        for part in self._parts.values():
            part.unlink(missing_ok=True)

    def add(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """More rows of some columns."""
        for name, column in columns.items():
            rows = self._shapes.get(name, (0,))[0] + len(column)
            self._shapes[name] = (rows, *column.shape[1:])
            self._open[name].write(
                np.ascontiguousarray(column, self._kinds[name]).data.cast("B") if column.size else b""
            )

    def column(self, name: str) -> NDArray[Any]:
        """All rows so far of a column of one dimension."""
        self._open[name].seek(0)
        return np.fromfile(self._open[name], self._kinds[name])

    def pack(self, *without: str) -> None:
        with replacing(self._path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(self._kinds.keys() - without):
                head = {"descr": np.lib.format.dtype_to_descr(self._kinds[name]), "fortran_order": False}
                self._open[name].seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_1_0(member, head | {"shape": self._shapes[name]})
                    shutil.copyfileobj(self._open[name], member, COPIED)
