"""A process that has torch alone reads the files."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from train.export.compare import compare
from train.export.network import Exportable
from train.export.to_torch import Runtime, write, write_compiled


def test_pt2(exportable: Exportable, canvases: NDArray[np.uint8], tmp_path: Path) -> None:
    write(exportable, tmp_path / "net.pt2", "boxes")
    assert compare(exportable, Runtime(tmp_path / "net.pt2", "torch"), "boxes", canvases).accepted
    (tmp_path / "net.pt2").write_bytes(b"PK damaged")
    with pytest.raises(ValueError, match=r"net\.pt2: torch alone cannot read it: "):
        Runtime(tmp_path / "net.pt2", "torch")([np.zeros((1, 3, 32, 32), np.float32)])


@pytest.mark.slow
def test_compiled(exportable: Exportable, canvases: NDArray[np.uint8], tmp_path: Path) -> None:
    write_compiled(exportable, tmp_path / "net.pt2", "raw")
    assert compare(exportable, Runtime(tmp_path / "net.pt2", "aotinductor"), "raw", canvases).accepted
