"""The command as a user types it, and what it keeps when a file is wrong."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from launch.processes.environment import Environment
from tests.conftest import Weights
from train.export import __main__ as command
from train.export.network import Exportable
from train.run.checkpoint import Checkpoint, CheckpointConfig


@pytest.fixture
def run(exportable: Exportable, tmp_path: Path, canvases: NDArray[np.uint8]) -> Path:
    """A run folder with a checkpoint, and pictures beside it."""
    import cv2

    folder = tmp_path / "run"
    parts = {"step": Weights(exportable.model)}
    checkpoint = Checkpoint(
        folder / "checkpoints",
        CheckpointConfig(),
        Environment(),
        exportable.config.network(exportable.classes),
        **parts,
    )
    checkpoint.save(64, best=True)
    checkpoint.wait()
    (folder / "config.yaml").write_text((tmp_path / "config.yaml").read_text())
    (tmp_path / "pictures").mkdir()
    for number, canvas in enumerate(canvases):
        cv2.imwrite(f"{tmp_path}/pictures/{number}.png", canvas)
    return folder


def test_a_run_goes_into_a_file_beside_it(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.main([str(run), "--to", "darknet", "--pictures", str(run.parent / "pictures"), "--count", "3"])
    assert (run / "run.weights").exists() and (run / "run.cfg").exists() and not list(run.glob(".export-*"))
    said = capsys.readouterr()
    assert f"{run}/run.weights (raw): 3 pictures, " in said.out and not said.err


def test_what_is_exported_is_not_overwritten(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = ["--pictures", str(run.parent / "pictures"), "--count", "1"]
    command.main([str(run), "--to", "darknet", "--out", str(tmp_path / "net.weights"), *pictures])
    monkeypatch.chdir(tmp_path)
    for weights, named in (("net.weights", "net.weights"), ("copy.weights", "net.cfg")):
        Path("net.weights").rename(weights)
        words = ["net.cfg", f"weights={weights}", "data.classes=[a,b,c]", "--to", "darknet", "--out", "./net.weights"]
        with pytest.raises(ValueError, match=rf"^{named} is what is exported and would be overwritten; choose another"):
            command.main([*words, *pictures])


def test_a_file_that_differs_is_not_kept(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = [str(run), "--to", "safetensors", "--pictures", str(run.parent / "pictures")]
    command.main(arguments)
    before = (run / "run.safetensors").read_bytes()
    form = command.FORMATS["safetensors"]

    def write(exportable: Exportable, path: Path, outputs: object) -> None:
        form.write(exportable, path, "raw")
        data = bytearray(path.read_bytes())
        data[-256:] = b"\x3f" * 256  # the last numbers are .747
        path.write_bytes(data)

    monkeypatch.setitem(command.FORMATS, "safetensors", form._replace(write=write))
    with pytest.raises(
        ValueError, match=r"run\.safetensors: expected what this program finds, found .* nothing was kept"
    ):
        command.main(arguments)
    assert (run / "run.safetensors").read_bytes() == before and not list(run.glob(".export-*"))


def test_what_cannot_be_is_one_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="--to torch --outputs detections: expected boxes or raw"):
        command.main([str(run), "--to", "torch", "--outputs", "detections"])
    for kind, out, suffix in (
        ("darknet", "x.onnx", ".weights"),
        ("darknet", "x.cfg", ".weights"),
        ("onnx", "x", ".onnx"),
    ):
        with pytest.raises(ValueError, match=rf"--out {out}: expected the name of a \{suffix} file for --to {kind}"):
            command.main([str(run), "--to", kind, "--out", out])
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(
        ValueError, match=r"--to onnx needs onnx, onnxscript, onnxruntime: pip install -e '\.\[export\]'"
    ):
        command.main([str(run), "--to", "onnx"])
