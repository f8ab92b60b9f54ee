"""python -m train.export RUN|CHECKPOINT.pt|CONFIG --to onnx|torch|aotinductor|safetensors|darknet [key=value ...]

Exports a trained network to other runtimes. Each file is read back by another runtime before it gets its name, and
compared with this program on pictures; a file that differs is an error, and is not kept.

    onnx         any batch, any sides that are multiples of 32 px; suppression inside by default; read by onnxruntime
    torch        torch.export's .pt2, which needs only torch
    aotinductor  compiled for this type of processor, in a .pt2 package; takes a C++ compiler and a minute
    safetensors  the weights, with the config in their metadata
    darknet      .weights and .cfg

RUN and the others as in train.score; darknet's weights need data.classes=[...].
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, get_args

from data.wording import counted
from launch.command import run
from launch.interrupt import ended_at_once
from train.export import to_files, to_onnx, to_torch
from train.export.compare import Runtime, compare
from train.export.network import Exportable, Outputs
from train.export.pictures import load_canvases
from train.trained import find_trained, load_trained


class Format(NamedTuple):
    suffix: str
    write: Callable[[Exportable, Path, Outputs], None]
    read: Callable[[Path], Runtime]
    outputs: tuple[Outputs, ...] = ("raw",)  #: the default first
    needs: tuple[str, ...] = ()


FORMATS = {
    "onnx": Format(
        ".onnx",
        to_onnx.write,
        to_onnx.Runtime,
        ("detections", "boxes", "raw"),
        ("onnx", "onnxscript", "onnxruntime"),
    ),
    "torch": Format(".pt2", to_torch.write, partial(to_torch.Runtime, kind="torch"), ("boxes", "raw")),
    "aotinductor": Format(
        ".aoti.pt2", to_torch.write_compiled, partial(to_torch.Runtime, kind="aotinductor"), ("boxes", "raw")
    ),
    "safetensors": Format(
        ".safetensors", to_files.write_safetensors, to_files.read_safetensors, needs=("safetensors",)
    ),
    "darknet": Format(".weights", to_files.write_darknet, to_files.read_darknet),
}


def export(
    exportable: Exportable, kind: str, outputs: Outputs | None, path: Path, pictures: Sequence[Path], count: int
) -> str:
    """Writes, reads back and compares a file; returns a summary. ValueError: it differs; an earlier one stays."""
    form = FORMATS[kind]
    missing = [name for name in form.needs if find_spec(name) is None]
    if missing:
        raise ValueError(f"--to {kind} needs {', '.join(missing)}: pip install -e '.[export]'")
    outputs = outputs or form.outputs[0]
    if outputs not in form.outputs:
        raise ValueError(f"--to {kind} --outputs {outputs}: expected {' or '.join(form.outputs)}")
    canvases = load_canvases(exportable.config, pictures, count)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".export-") as folder:
        with ended_at_once(partial(shutil.rmtree, folder, ignore_errors=True)):
            form.write(exportable, Path(folder, path.name), outputs)
            difference = compare(exportable, form.read(Path(folder, path.name)), outputs, canvases)
        if not difference.accepted:
            raise ValueError(f"{path}: expected what this program finds, found {difference}; nothing was kept")
        for file in Path(folder).iterdir():
            file.replace(path.with_name(file.name))
    return f"{path} ({outputs}): {counted(len(canvases), 'picture')}, {difference}"


def _require_other_files(path: Path, inputs: Sequence[Path]) -> None:
    """ValueError if the export, with darknet's .cfg, would overwrite a file that it is made from."""
    for written in (path, *[path.with_suffix(".cfg")] * (path.suffix == ".weights")):
        if any(written.exists() and written.samefile(each) for each in inputs):
            raise ValueError(f"{written} is what is exported and would be overwritten; choose another --out")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", type=Path, metavar="RUN|CHECKPOINT|CONFIG")
    parser.add_argument("--to", required=True, choices=FORMATS)
    parser.add_argument("--outputs", choices=get_args(Outputs), help="default: detections (onnx), boxes (torch)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: NAME of the run, in its folder")
    pictures = parser.add_argument("--pictures", type=Path, action="append", default=[], metavar="FILE|FOLDER")
    pictures.help = "pictures to compare on, may be repeated; default: those of data.val"
    parser.add_argument("--count", type=int, default=50, help="number of pictures")
    parser.add_argument("--threshold", type=float, help="lowest score found; default: evaluate.score_threshold")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args(arguments)
    if options.count < 1:
        raise ValueError(f"--count {options.count}: expected at least 1")
    if options.threshold is not None and not 0 <= options.threshold <= 1:
        raise ValueError(f"--threshold {options.threshold}: expected a score, 0 to 1")
    if options.out and options.out.is_dir():
        raise ValueError(f"--out {options.out}: expected the name of a file, found a folder")
    suffix = FORMATS[options.to].suffix
    if options.out and options.out.suffix != Path(f"name{suffix}").suffix:
        raise ValueError(f"--out {options.out}: expected the name of a {suffix} file for --to {options.to}; rename it")
    config, weights = find_trained(options.target, options.overrides)
    model, classes = load_trained(config, weights)
    threshold = config.evaluate.score_threshold if options.threshold is None else options.threshold
    exportable = Exportable(model.eval().requires_grad_(False), config, classes, threshold)
    folder = options.target if options.target.is_dir() else Path()
    name = options.target.resolve().name if options.target.is_dir() else weights.resolve().stem
    path = options.out or folder / f"{name}{suffix}"
    _require_other_files(path, (weights, options.target))
    print(export(exportable, options.to, options.outputs, path, options.pictures, options.count))


if __name__ == "__main__":
    sys.exit(run(main))
