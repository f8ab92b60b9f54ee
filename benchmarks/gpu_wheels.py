"""Packages for a machine without a network: from a folder of wheels, if the interpreter has no suitable ones.

    python -m benchmarks.gpu_wheels wheels --python 3.12     # on a machine with a network: fills the folder

torch is never among them: a machine with a GPU has its own, 2.11 or newer.
"""

import argparse
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import MutableMapping
from pathlib import Path

try:
    from packaging.requirements import Requirement
except ModuleNotFoundError:  # pytest brings it; a bare machine has pip's copy
    from pip._vendor.packaging.requirements import Requirement  # type: ignore[assignment]

ROOT = Path(__file__).resolve().parents[1]
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
FOR_TESTS = ("hypothesis", "pytest", "pytest-timeout")
#: in constraints.txt, but not needed on such a machine
LEFT_OUT = re.compile(
    r"torch==|ruff|mypy|librt|ast_serialize|grimp|import-linter|boto|s3trans|jmes|moto|respons|xmltodict|py-partiql|"
    r"flask|blinker|itsdangerous|crypto|cffi|pycparser|requests|charset|idna|certifi|urllib3|onnx|flatbuffers|"
    r"ml_dtypes|pathspec|webdataset|braceexpand|pytest-xdist|execnet|"
    r"sympy|mpmath|networkx|filelock|fsspec|Jinja2|setuptools",
    re.IGNORECASE,
)
PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014", "manylinux1")


def requirements() -> list[Requirement]:
    """Requirements of a run and of its tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(line) for line in project["dependencies"]]
    tests = [Requirement(line) for line in project["optional-dependencies"]["dev"]]
    return wanted + [each for each in tests if each.name in FOR_TESTS]


def unsatisfied(wanted: list[Requirement]) -> list[Requirement]:
    importlib.invalidate_caches()
    return [each for each in wanted if not each.specifier.contains(_version(each.name), prereleases=True)]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "0"


def names_of(folder: Path) -> set[str]:
    """Names of the distributions whose wheels are there."""
    return {path.name.partition("-")[0].replace("_", "-").lower() for path in folder.glob("*.whl")}


def provide(wheels: Path | None, into: Path, environ: MutableMapping[str, str]) -> str | None:
    """Makes missing packages available to this process and those with `environ`; returns the reason if it cannot."""
    environ["PYTHONPATH"] = str(ROOT)
    if missing := unsatisfied(requirements()):
        if wheels is None or not wheels.is_dir():
            return (
                f"expected {', '.join(map(str, missing))}, found too old a version or none; fill a folder where there "
                f"is a network, by `python -m benchmarks.gpu_wheels wheels --python {PYTHON}`, and start with "
                "`make gpu WHEELS=wheels`"
            )
        named = {each.name.lower() for each in missing}
        wanted = sorted(name for name in names_of(wheels) if name in named or _version(name) == "0")
        install = ["-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(into)]
        done = subprocess.run(
            [sys.executable, *install, "--find-links", str(wheels), *wanted], capture_output=True, text=True
        )
        if done.returncode:
            return f"{wheels}: {(done.stderr.strip().splitlines() or ['pip failed'])[-1]}"
        sys.path.insert(0, str(into))
        environ["PYTHONPATH"] = f"{into}:{ROOT}"
        if missing := unsatisfied(requirements()):
            return f"{wheels}: expected wheels of {', '.join(map(str, missing))} for this Python too, found none"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_wheels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default=PYTHON, help="version on that machine")
    options = parser.parse_args()
    pins = (ROOT / "constraints.txt").read_text().split()
    kept = [pin for pin in pins if not LEFT_OUT.match(pin)]
    platforms = [f"--platform={each}_x86_64" for each in PLATFORMS]
    command = ["-m", "pip", "download", "--no-deps", "--only-binary=:all:", *platforms, "--implementation=cp"]
    command += [f"--python-version={options.python}", "--dest", str(options.folder), *kept]
    sys.exit(subprocess.run([sys.executable, *command]).returncode)


if __name__ == "__main__":
    main()
