"""Writes torch.export's .pt2, and AOTInductor's package of compiled code; read back by a process with torch alone."""

import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from train.export.network import Exportable, Outputs, program

READER = """
import sys
import numpy, torch
path, kind, folder, count = sys.argv[1:]
network = torch._inductor.aoti_load_package(path) if kind == "aotinductor" else torch.export.load(path).module()
for number in range(int(count)):
    with torch.inference_mode():
        found = network(torch.from_numpy(numpy.load(f"{folder}/{number}.npy")))
    found = found if isinstance(found, (tuple, list)) else [found]
    numpy.savez(f"{folder}/{number}.npz", *[each.numpy() for each in found])
assert not {"train", "data", "launch"} & sys.modules.keys()
"""


def write(exportable: Exportable, path: Path, outputs: Outputs) -> None:
    torch.export.save(program(exportable, outputs), path)


def write_compiled(exportable: Exportable, path: Path, outputs: Outputs) -> None:
    """Compiles for this type of processor, as exactly as the network itself. Takes a C++ compiler and a minute."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of its own deprecations
            torch._inductor.aoti_compile_and_package(program(exportable, outputs), package_path=str(path))
    except (torch._inductor.exc.InductorError, torch._inductor.exc.CppCompileError, FileNotFoundError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(f"AOTInductor could not compile the network ({reason}); it needs a C++ compiler") from error


class Runtime:
    """A separate process, in an empty folder, that imports only torch."""

    def __init__(self, path: Path, kind: str) -> None:
        self.path, self.kind = path.absolute(), kind

    def __call__(self, batches: Sequence[NDArray[np.float32]]) -> list[list[NDArray[Any]]]:
        with tempfile.TemporaryDirectory() as folder:
            for number, images in enumerate(batches):
                np.save(Path(folder, f"{number}.npy"), images)
            command = [sys.executable, "-I", "-c", READER, str(self.path), self.kind, folder, str(len(batches))]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if done.returncode:
                raise ValueError(f"{self.path}: torch alone cannot read it: {done.stderr.strip()[-2000:]}")
            return [_arrays(Path(folder, f"{number}.npz")) for number in range(len(batches))]


def _arrays(path: Path) -> list[NDArray[Any]]:
    with np.load(path) as found:
        return [found[name] for name in found.files]
