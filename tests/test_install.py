"""How the project gets onto a machine: cloned, its environment made of locked versions."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What building looks at; pip writes beside it."""
    clone = tmp_path / "clone"
    for package in ("train", "data", "launch"):
        shutil.copytree(ROOT / package, clone / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "editable_only.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    return clone


def pip(clone: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pip", *words, "--no-deps", "--no-build-isolation", "--no-index"]
    return subprocess.run(command, cwd=clone, capture_output=True, text=True)


@pytest.mark.slow
def test_a_wheel_is_refused_with_what_to_do_instead(clone: Path, tmp_path: Path) -> None:
    done = pip(clone, "wheel", ".", "--wheel-dir", str(tmp_path))
    assert done.returncode and "Traceback" not in done.stdout + done.stderr
    assert "This project is cloned, not installed as a package" in done.stderr and "pip install -e ." in done.stderr
    assert not list(tmp_path.glob("*.whl"))


@pytest.mark.slow
def test_an_editable_install_works(clone: Path, tmp_path: Path) -> None:
    """Elsewhere, and without taking away the one that these tests run with."""
    done = pip(clone, "install", "--editable", ".", "--ignore-installed", "--prefix", str(tmp_path / "there"))
    assert done.returncode == 0 and "Uninstalling" not in done.stdout, done.stdout + done.stderr
    (found,) = (tmp_path / "there").rglob("__editable__*.pth")
    assert "__editable__" in found.read_text() or str(clone) in found.read_text()


def copied(definition: str) -> set[str]:
    """What an image gets of the project."""
    text = (ROOT / definition).read_text()
    if definition == "Dockerfile":
        return {word for line in re.findall(r"^COPY (.*) \S+$", text, re.M) for word in line.split()}
    section = text.partition("%files\n")[2].partition("\n\n")[0]
    pairs = [line.split() for line in section.splitlines()]
    assert all(target == f"/opt/yolov2/{source}" for source, target in pairs)
    return {source for source, _ in pairs}


@pytest.mark.parametrize("definition", ["Dockerfile", "slurm/Apptainer.def"])
def test_an_image_gets_what_it_needs_and_runs_the_one_script(definition: str) -> None:
    text = (ROOT / definition).read_text()
    assert copied(definition) == {
        *("constraints.txt", "editable_only.py", "pyproject.toml", "LICENSE", "README.md"),
        *("train", "data", "launch", "configs", "slurm"),
    }
    assert all((ROOT / name).exists() for name in copied(definition))
    assert "sh slurm/install.sh" in text and "PIP_NO_INDEX=1" in text and "pip install" not in text
    (base,) = re.findall(r"^(?:FROM|From:) (.*)$", text, re.M)
    assert base == "python:3.11.13-slim-bookworm"  # a version, in both the same


def is_sent(path: str) -> bool:
    """Whether docker sends a file to the builder: of the lines of .dockerignore that match it, the last decides."""
    sent = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line and not line.startswith("#"):
            pattern = re.escape(line.removeprefix("!")).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
            if re.fullmatch(f"{pattern}(/.*)?", path):
                sent = line.startswith("!")
    return sent


@pytest.mark.parametrize(
    "path",
    [
        *(".git/config", ".venv/bin/python", "runs/demo/config.yaml", "datasets/voc/train/shard-000000.tar"),
        *("train/__pycache__/loop.pyc", "train/run/__pycache__/board.pyc", ".mypy_cache/x", ".hypothesis/x"),
        *("yolov2_trainer.egg-info/PKG-INFO", "shared/data/bccd.tar", "checkpoint.pt", "docs/board.png"),
    ],
)
def test_docker_is_not_sent(path: str) -> None:
    assert not is_sent(path)


def test_docker_is_sent_all_that_an_image_gets() -> None:
    sources = [ROOT / name for name in copied("Dockerfile")]
    files = [file for source in sources for file in (source.rglob("*") if source.is_dir() else [source])]
    names = [file.relative_to(ROOT).as_posix() for file in files if file.is_file() and "__pycache__" not in file.parts]
    assert "train/main.py" in names and [name for name in names if not is_sent(name)] == []


def test_the_steps_of_an_image_work_as_plain_shell(tmp_path: Path) -> None:
    """In a folder with nothing but what the image gets. apt-get is a stand-in; pip asks no index and installs nothing,
    so that it only succeeds where every version it is told to take is that of this environment."""
    for name in copied("Dockerfile"):
        source, target = ROOT / name, tmp_path / "image" / name
        target.parent.mkdir(exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    programs = {
        "apt-get": 'echo "$@" >> "$0.said"',
        "python": f'[ "$3" = install ] && set -- "$@" --dry-run --no-index; exec {sys.executable} "$@"',
        "rm": 'echo "$@" >> "$0.said"',
    }
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "slurm/install.sh"], cwd=tmp_path / "image", env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "apt-get.said").read_text().splitlines()[0] == "update"
    assert list((tmp_path / "image/train").rglob("*.pyc"))


def test_what_an_image_installs_is_locked() -> None:
    constraints = (ROOT / "constraints.txt").read_text()
    locked = {line.partition("==")[0].lower().replace("_", "-") for line in constraints.splitlines()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["s3"], *extras["export"]]
    assert {re.split(r"[<>=]", name)[0].lower().replace("_", "-") for name in wanted} <= locked
