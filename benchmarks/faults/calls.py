"""Compiles calls.c, and makes the environment of a process whose calls fail or are slow."""

import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

SOURCE = Path(__file__).with_name("calls.c")


def compiled(folder: Path) -> Path | None:
    """calls.so in the folder; None without a compiler."""
    library = folder / "calls.so"
    with suppress(OSError):
        command = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
        subprocess.run(command, check=True)
        return library
    return None


def failing(library: Path, calls: str, path: str, said: Path, **more: object) -> Mapping[str, str]:
    """The environment. calls: of write, fsync, rename, pread, read; path: part of the file's name; more: errno ..."""
    settings = {"calls": calls, "path": path, "said": said, **more}
    return {"LD_PRELOAD": str(library), **{f"FAULT_{name.upper()}": str(value) for name, value in settings.items()}}
