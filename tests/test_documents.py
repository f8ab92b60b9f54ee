"""What README, RESULTS and docs say can be looked up: figures in RESULTS, commands and files in the project."""

import importlib.util
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "RESULTS.md", *sorted((ROOT / "docs").glob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text()


def test_every_figure_of_readme_stands_in_results() -> None:
    results = re.sub(r"\s+", " ", (ROOT / "RESULTS.md").read_text())
    told = [line for line in (ROOT / "README.md").read_text().splitlines() if "RESULTS.md#" in line]
    assert told, "README cites no result"
    for line in told:
        text = re.sub(r"\[([^]]*)\]\([^)]*\)|`[^`]*`", "", line)
        for figure in re.findall(r"(?<![\w.])\d*[\d,]*\.?\d+(?: ?(?:%|x\b))?", text):
            assert re.search(rf"(?<![\d.,]){re.escape(figure)}(?![\d]|[.,]\d)", results), f"{figure!r} of: {line}"


def test_results_say_what_they_are() -> None:
    rows = [line for line in (ROOT / "RESULTS.md").read_text().splitlines() if line.startswith("| ")]
    for row in rows:
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 6, row
        if cells[0] != "what":
            assert cells[5] in ("measured", "predicted", "not tried"), row
            if cells[5] == "measured":
                assert re.fullmatch(r"`[0-9a-f]{7}`", cells[3]) and re.fullmatch(r"\w+, \d{4}-\d\d-\d\d", cells[4]), row
    assert len((ROOT / "RESULTS.md").read_text().splitlines()) <= 150
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_command_and_file_exists(page: Path) -> None:
    text = page.read_text()
    for module in re.findall(r"python -m ((?:train|data|launch|benchmarks|tests)[.\w]*)", text):
        assert module == "benchmarks.NAME" or importlib.util.find_spec(module.rstrip(".")), module
    for target in re.findall(r"`make ([\w-]+)|^    make ([\w-]+)", text, re.M):
        assert re.search(rf"^{max(target)}:", MAKEFILE, re.M), target
    for path in re.findall(r"(?<![\w/.-])((?:train|data|launch|configs|tests|benchmarks|docs)/[\w/]+\.\w+)", text):
        assert "NAME" in path or (ROOT / path).exists(), path
    for link in re.findall(r"\]\((?!http|#)([^)#]+)", text):
        assert (page.parent / link).exists(), link
