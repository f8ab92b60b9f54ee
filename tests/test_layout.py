"""The house rules that a reader relies on: where things lie, what may know what, how long a page is."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import data
import launch
import train
from tests.conftest import ROOT

PACKAGES = ("train", "data", "launch")
MODULES = sorted(
    path
    for package in PACKAGES
    for path in (ROOT / package).rglob("*.py")
    if path.name not in ("__init__.py", "main.py")
)
ROOMS = sorted({path.parent for path in MODULES} - {ROOT / package for package in PACKAGES})


def name_of(module: Path) -> str:
    return module.relative_to(ROOT).as_posix()


def test_packages_are_those_of_this_folder() -> None:
    for package in (train, data, launch):
        assert Path(str(package.__file__)).is_relative_to(ROOT)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_every_module_has_its_tests(module: Path) -> None:
    tests = ROOT / "tests" / module.parent.relative_to(ROOT)
    assert (tests / f"test_{'command' if module.stem == '__main__' else module.stem}.py").exists()


@pytest.mark.parametrize("room", ROOMS, ids=name_of)
def test_a_room_holds_3_to_8_files(room: Path) -> None:
    """And is a package: installers, mypy and the import linter pass over a folder that is none."""
    assert (room / "__init__.py").exists() and 3 <= sum(path.parent == room for path in MODULES) <= 8


@pytest.mark.parametrize("module", [path for path in [*ROOMS, *MODULES] if path.parent.parent == ROOT], ids=name_of)
def test_nothing_hides_another_module(module: Path) -> None:
    """`python train/main.py` puts train/ first on the path."""
    installed = {name.partition(".")[0] for name in sys.modules if not name.startswith("_")}
    assert module.stem not in set(sys.stdlib_module_names) | installed - {"tests"} | set(PACKAGES)


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_files_and_functions_are_short(module: Path) -> None:
    """The page is one function; everything else is read a screen at a time."""
    text = module.read_text()
    assert len(text.splitlines()) <= 200
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and name_of(module) != "train/loop.py":
            assert node.end_lineno is not None and node.end_lineno - node.lineno < 40, node.name


def test_the_page_is_one_page() -> None:
    assert len((ROOT / "train/loop.py").read_text().splitlines()) < 80
    assert len((ROOT / "train/main.py").read_text().splitlines()) < 30


def _modules_that_use(attribute: str) -> set[str]:
    return {
        name_of(path)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == attribute
    }


def test_the_environment_is_read_in_one_place() -> None:
    assert _modules_that_use("environ") | _modules_that_use("getenv") == {"launch/processes/environment.py"}


def test_rank_is_known_in_few_places() -> None:
    allowed = {
        "environment",
        "stop",
        "loop",
        "loader",
        "evaluator",
        "evaluate",
        "checkpoint",
        "board",
        "score",
        "summary",
    }
    assert {Path(name).stem for name in _modules_that_use("rank")} <= allowed


#: the only functions of these modules that wait for the device
WAITING = {
    "train/detection/nms.py": {"suppress"},  # the host walks the candidates of an evaluation
    "train/detection/head.py": {"detections"},
    "train/detection/validate.py": {"_check_truths", "_check_dense", "_numbers"},  # of direct calls, not of training
}


def _waiting_functions(module: Path) -> set[str]:
    return {
        function.name
        for function in ast.walk(ast.parse(module.read_text()))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Attribute) and node.attr in ("item", "cpu", "tolist", "numpy", "nonzero", "synchronize")
    }


def test_nothing_in_the_step_waits_for_the_device() -> None:
    in_the_step = [path for path in MODULES if path.stem in ("step", "objective", "model", "layers", "loss")]
    for path in [*in_the_step, *(path for path in MODULES if path.parent == ROOT / "train/detection")]:
        assert _waiting_functions(path) == WAITING.get(name_of(path), set()), name_of(path)


@pytest.mark.slow
def test_a_file_in_the_wrong_layer_is_found(tmp_path: Path) -> None:
    """On a copy: data that imports train, and a module that has no layer."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())

    def lint() -> str:
        command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path)})
        return done.stdout + f"exit {done.returncode}"

    assert "exit 0" in lint()
    (tmp_path / "data/stray.py").write_text("import train.loss\n")
    found = lint()
    assert "exit 1" in found and "data is not allowed to import train" in found and "stray" in found
