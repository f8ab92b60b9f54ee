"""Writes index.npz part by part, in memory that does not grow with the set. The bytes are `numpy.savez`'s."""

import shutil
import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from data.files import part_name, replacing

COPIED = 1 << 20  # bytes at a time


class Packing:
    """A context with columns that grow, each in its own file beside `path`, until `pack` joins them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._columns: dict[str, _Column] = {}
        self._files = ExitStack()

    def __enter__(self) -> "Packing":
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()
        for column in self._columns.values():
            column.path.unlink(missing_ok=True)

    def add(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Appends rows to some columns; the first rows decide their types."""
        for name, rows in columns.items():
            if name not in self._columns:
                path = part_name(self._path.with_suffix(f".{name}"))
                self._columns[name] = _Column(path, self._files.enter_context(path.open("w+b")), rows[:0])
            column = self._columns[name]
            column.file.write(np.ascontiguousarray(rows, column.empty.dtype).tobytes())
            column.rows += len(rows)

    def column(self, name: str) -> NDArray[Any]:
        """All rows so far of a one-dimensional column."""
        self._columns[name].file.seek(0)
        return np.fromfile(self._columns[name].file, self._columns[name].empty.dtype)

    def pack(self, *without: str) -> None:
        """Writes the archive of all columns except those named."""
        with replacing(self._path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name in sorted(self._columns.keys() - without):
                column = self._columns[name]
                kind, shape = np.lib.format.dtype_to_descr(column.empty.dtype), (column.rows, *column.empty.shape[1:])
                column.file.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    head = {"descr": kind, "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(member, head)
                    shutil.copyfileobj(column.file, member, COPIED)


@dataclass(slots=True)
class _Column:
    path: Path
    file: BinaryIO
    empty: NDArray[Any]  # with the type and shape of its rows
    rows: int = 0
