"""The parts of `make gpu`, in the order of importance: does it run, how fast, why, and does it learn."""

import csv
import json
import platform
import re
import statistics
import sys
from collections.abc import Iterator
from typing import Any

from benchmarks.gpu import ROOT, Machine, OutOfTime, Part, Row
from benchmarks.gpu_pictures import find_pictures

SIDES = (416, 608, 320, 544)  # px, the most important first
LEAST_TORCH = (2, 11)


def environment(machine: Machine) -> Iterator[Row]:
    import torch

    found = tuple(int(number) for number in torch.__version__.split(".")[:2])
    if sys.version_info < (3, 11) or found < LEAST_TORCH:
        raise RuntimeError(f"expected Python 3.11 and torch 2.11 or newer, found {platform.python_version()}, {found}")
    yield Row("Python, torch", f"{platform.python_version()}, {torch.__version__}", "3.11, 2.11 or newer")
    yield Row("processor cores", str(machine.cores))
    if machine.dry:
        yield Row("GPU", "none: a rehearsal on the CPU, whose figures say nothing")
        return
    if not torch.cuda.is_available():
        raise RuntimeError("expected a GPU, found none; make gpu DRY=1 rehearses on the CPU")
    properties = torch.cuda.get_device_properties(0)
    memory, libraries = (
        properties.total_memory / 1e9,
        f"CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}",
    )
    yield Row("GPU", f"{torch.cuda.device_count()} x {properties.name}, {memory:.0f} GB, {libraries}")


def tests(machine: Machine) -> Iterator[Row]:
    files = sorted(path for path in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in path.read_text())
    files = files[-1:] if machine.dry else files
    words = ["-m", "pytest", "-m", "gpu", "-vv", "-p", "no:cacheprovider", "--timeout=60", *files]
    try:
        said, ending = machine.python("tests.log", *words, limit_s=100), ""
    except OutOfTime as error:
        said, ending = error.said, f", {error}"
    except RuntimeError as error:
        said, ending = (machine.out / "tests.log").read_text(), f", {error}"
    counts = {word: len(re.findall(rf" {word}", said)) for word in ("PASSED", "FAILED", "ERROR", "SKIPPED")}
    shown = ", ".join(f"{number} {word.lower()}" for word, number in counts.items() if number) or "none"
    yield Row("tests that need a GPU", shown + ending, "all pass, one may be skipped", "tests.log")


def step(machine: Machine) -> Iterator[Row]:
    """One process for each side, so that a time limit only loses the last sides."""
    sides, small = (
        (SIDES, []) if not machine.dry else ((64,), ["--images=2", "--width=0.0625", "--compiled", "--backend=eager"])
    )
    for number, side in enumerate(sides):
        out = machine.out / f"step-{side}.json"
        words = ["-m", "benchmarks.step", f"--sides={side}", "--precisions=bf16", "--rounds=2", f"--json={out}", *small]
        trace = [f"--trace={machine.out / 'trace.json'}"] if number == 0 else []
        machine.python("step.log", *words, *trace, limit_s=75)
        found = json.loads(out.read_text())
        for case in found["cases"]:
            yield from _step_rows(machine, case, found["images"], out.name)
        if number == 0:
            yield Row("a step beside forward, backward, optimizer", f"{1e3 * found['overhead_s']:.2f} ms", "", out.name)


def _step_rows(machine: Machine, case: dict[str, Any], images: int, source: str) -> Iterator[Row]:
    from benchmarks.roofline import Device, seconds

    speed, share = "", ""
    if not machine.dry:
        device = Device(case["matmul_flops"], 3.8e12, 0.75)
        predicted_s = seconds(device, case["side"], images, case["compiled"])
        flops = case["flops"] * case["step_s"]
        speed, share = f"{images / predicted_s:,.0f}", f"{flops / predicted_s / device.matmul:.0%}"
    name = f"{case['precision']}, {case['side']} px, {'compiled' if case['compiled'] else 'eager'}, {images} images"
    yield Row(f"{name}: images/s", f"{case['images_per_s']:,.0f}", speed, source)
    rate = f"of {case['matmul_flops'] / 1e12:,.1f} TFLOP/s"
    yield Row(f"{name}: of matrix products", f"{case['share']:.0%} {rate}", share, source)
    yield Row(f"{name}: warm-up", f"{case['warm_up_s']:.1f} s", "", source)


def loader(machine: Machine) -> Iterator[Row]:
    """Decoding on all cores, with colours, or colours and geometry, left to the device."""
    pictures = find_pictures(machine)
    yield Row("pictures", pictures.what, "real photographs", "pictures.log")
    out, workers = machine.out / "loader.json", max(machine.cores - 1, 1)
    small = ["--images=64", "--only=geometry and colour on"] if machine.dry else ["--only=colour on the device"]
    words = ["-m", "benchmarks.loader", pictures.train, f"--workers={workers}", "--rounds=1", f"--json={out}", *small]
    machine.python("loader.log", *words, limit_s=60)
    cases = {each["case"]: each["cpu_wall_s"][0] for each in json.loads(out.read_text())}
    decode_cpu_s, _ = cases["decode only"]
    of_decode = {"ours, colour on the device": "78 %", "ours, geometry and colour on the device": "91 %"}
    for case, (cpu_s, wall_s) in cases.items():
        rate = f"{1 / wall_s:,.0f} images/s, {decode_cpu_s / cpu_s:.0%} of decoding"
        yield Row(f"loader, {workers} workers: {case}", rate, of_decode.get(case, ""), out.name)
    epochs = 1 if machine.dry else 10**6
    alone = ["data.augment.mosaic=0", "data.augment.mixup=0"]  # the device lays one image into each canvas
    said = _train(machine, "waits", 30, epochs, "data.geometry=device", *alone)
    yield from _speed_rows(said, "a run with geometry on the device", "waits.log")


def trace(machine: Machine) -> Iterator[Row]:
    """The profile that `step` wrote with its first case."""
    size = (machine.out / "trace.json").stat().st_size
    yield Row("profile of one step", f"{size / 1e6:.1f} MB; open it at ui.perfetto.dev", "", "trace.json")
    lines = (machine.out / "step.log").read_text().partition("Self CPU %")[2].splitlines()[2:]
    for place, line in enumerate(lines[:5], 1):
        name, *columns = re.split(r"\s{2,}", line.strip())
        shares = [column for column in columns if "%" in column]  # of the CPU, and last of the device
        yield Row(f"operator {place} by own time", f"{name}, {shares[0 if machine.dry else -1]}", "", "step.log")


def training(machine: Machine) -> Iterator[Row]:
    """Three minutes on real pictures, as many epochs as fit, evaluated on the way and at the end."""
    pictures, seconds = find_pictures(machine), 170
    speeds = [
        case["images_per_s"]
        for path in machine.out.glob(f"step-{SIDES[0]}.json")
        for case in json.loads(path.read_text())["cases"]
        if not case["compiled"]
    ]
    epochs = 2 if machine.dry else max(3, int(0.5 * (speeds or [500])[0] * seconds / pictures.num_images))
    said = _train(machine, "training", seconds + 25, epochs)
    yield from _speed_rows(said, "a run of three minutes", "training.log")
    known = ".600 with a tiny network, 16,400 images" if "BCCD" in pictures.what else ""
    with (machine.out / "training/results.csv").open() as file:
        last = list(csv.DictReader(file))[-1]
    yield Row("mAP@.5 on the held-out pictures", f"{float(last['mAP']):.4f} after epoch {last['epoch']}", known)


def _train(machine: Machine, name: str, limit_s: float, epochs: int, *options: str) -> str:
    pictures, run = find_pictures(machine), machine.out / name
    workers = max(machine.cores - 1, 1)
    sizes = ["data.batch=64", "data.sides=[416]", "step.compile=no", f"evaluate.every_epochs={max(1, epochs // 5)}"]
    if machine.dry:
        sizes = ["data.batch=8", "data.sides=[64]", "evaluate.side=64", "model.width=0.0625", "step.precision=fp32"]
        sizes += ["board.every_batches=1"]  # few batches
    words = [ROOT / "train/main.py", ROOT / "configs/bccd.yaml", "model.width=1.0", f"run={run}", f"epochs={epochs}"]
    words += [f"data.train={pictures.train}", f"data.val={pictures.val}", f"data.workers={workers}", *sizes, *options]
    return machine.python(f"{name}.log", *words, limit_s=limit_s, stop=run / "stop")


def _speed_rows(said: str, what: str, source: str) -> Iterator[Row]:
    lines = re.findall(r"([\d.]+) images/s\s+waits\s+(\d+)%", said)[1:]  # the first one includes the start
    if not lines:
        yield Row(f"{what}: images/s", "no log line", "", source)
        return
    speeds, waits = zip(*((float(speed), int(share)) for speed, share in lines), strict=True)
    yield Row(f"{what}: images/s", f"{statistics.median(speeds):,.0f}", "the smaller of step and loader", source)
    yield Row(f"{what}: waits for data", f"{statistics.median(waits):.0f} %", "0 % if the loader is faster", source)


def memory(machine: Machine) -> Iterator[Row]:
    for path in sorted(machine.out.glob("step-*.json")):
        for case in json.loads(path.read_text())["cases"]:
            how = "compiled" if case["compiled"] else "eager"
            peak = f"{case['peak_bytes'] / 1e9:.2f} GB" if case["peak_bytes"] else "not counted on a CPU"
            predicted = f"{case['predicted_bytes'] / 1e9:.2f} GB"
            yield Row(f"memory of a step, {case['side']} px, {how}", peak, predicted, path.name)


PARTS: list[tuple[str, Part]] = [
    ("environment", environment),
    ("tests", tests),
    ("step", step),
    ("loader", loader),
    ("profile", trace),
    ("training", training),
    ("memory", memory),
]
