"""The tutorial: each of its commands ends well, and says what the page shows, numbers aside."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data.sources.shapes import draw_voc
from tests.conftest import ROOT, SHARED

PAGE = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.M | re.S)
SHORT = "epochs=1 model.variant=tiny-voc model.width=0.25 data.sides=[96] evaluate.side=96 data.batch=16"
ELIDED = "..."


def commands() -> list[tuple[str, list[str]]]:
    """Each command of the page with the lines that it is shown to write."""
    found: list[tuple[str, list[str]]] = []
    for line in "".join(BLOCK.findall(PAGE.read_text())).splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        elif line != ELIDED:
            found[-1][1].append(line)
    return found


def form(line: str) -> str:
    """A line without its numbers: runs on other machines, and shorter ones, differ in them."""
    line = re.sub(r"variant: \S+|yolov2\b|tiny-voc\b", "NETWORK", re.sub(r"best-[\da-f-]+", "best", line))
    line = re.sub(r"left .*", "left", re.sub(r"(\.jpg: ).*", r"\1", line))  # times, and what is found on a picture
    return re.sub(r"\s+", " ", re.sub(r"-?\d[\d.,]*(e[-+]\d+)?|\bnan\b|(?<= )-(?= |$)", "#", line))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the commands run: with the real set of the page where it is at hand, else with a drawn one in its place."""
    if (tar := SHARED / "data" / "bccd.tar").exists():
        subprocess.run(["tar", "-xf", str(tar), "-C", str(tmp_path)], check=True)
        found = next(path.parent for path in tmp_path.rglob("JPEGImages"))
    else:
        draw_voc(tmp_path / "drawn", train=53, val=21, seed=1)
        found = tmp_path / "drawn" / "VOC2007"
        pictures = found / "JPEGImages"
        shutil.copy(pictures / "000054.jpg", pictures / "BloodImage_00132.jpg")  # the one that the page detects on
    (tmp_path / "cells").symlink_to(found)
    (tmp_path / "train").symlink_to(ROOT / "train")
    return tmp_path


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_command_ends_well_and_says_what_the_page_shows(folder: Path) -> None:
    real = (SHARED / "data" / "bccd.tar").exists()
    told = commands()
    assert len(told) >= 8
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for command, shown in told:
        started = f"{command} {SHORT}" if command.startswith("python train/main.py") else command
        done = subprocess.run(
            ["bash", "-c", started],
            cwd=folder,
            env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, f"{started}\n{done.stdout[-3000:]}"
        if real:
            said = {form(line) for line in done.stdout.splitlines()}
            assert not [line for line in shown if form(line) not in said], f"{command}\n{done.stdout[-3000:]}"
