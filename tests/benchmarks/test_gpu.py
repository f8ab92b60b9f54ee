"""`make gpu DRY=1`: everything that a day with a GPU will do, small; and what it does when something fails."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.gpu import Machine, OutOfTime, Row, main, run_parts, table
from tests.conftest import ROOT


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path, True, None, None)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_rehearsal_fills_the_table(tmp_path: Path) -> None:
    done = subprocess.run(
        ["make", "gpu", "DRY=1", f"OUT={tmp_path}"], cwd=ROOT, capture_output=True, text=True, timeout=1400
    )
    found = (tmp_path / "table.md").read_text()
    assert done.returncode == 0 and found in done.stdout, found + done.stderr
    lines = found.splitlines()
    assert lines[:2] == ["| what | measured | predicted | from |", "|---|---|---|---|"]
    rows = {cells[1].strip(): [cell.strip() for cell in cells[2:5]] for cells in (line.split("|") for line in lines)}
    order = ["environment", "tests", "step", "loader", "profile", "training", "memory"]
    assert [name.removesuffix(": time") for name in rows if name.endswith(": time")] == order
    for how in ("eager", "compiled"):
        assert float(rows[f"bf16, 64 px, {how}, 2 images: images/s"][0].replace(",", "")) > 0
        assert rows[f"memory of a step, 64 px, {how}"][1].endswith(" GB")
    assert "skipped" in rows["tests that need a GPU"][0] and "failed" not in rows["tests that need a GPU"][0]
    assert "of decoding" in rows["loader, 1 workers: ours, geometry and colour on the device"][0]
    assert rows["a run with geometry on the device: waits for data"][0].endswith("%")
    assert rows["operator 1 by own time"][0].endswith("%")
    assert 0 <= float(rows["mAP@.5 on the held-out pictures"][0].split()[0]) <= 1
    assert "NOT MEASURED" not in found and "drawn" in rows["pictures"][0]


def test_a_part_that_fails_costs_its_own_rows(machine: Machine) -> None:
    def half(_: Machine) -> Iterator[Row]:
        yield Row("first half", "1")
        raise ValueError("no second\none")

    rows = run_parts(machine, [("half", half), ("whole", lambda _: [Row("all", "2 | 3")])])
    assert [row.what for row in rows] == ["first half", "half", "half: time", "all", "whole: time"]
    assert rows[1].measured == "NOT MEASURED: ValueError: no second one"
    assert (machine.out / "table.md").read_text() == table(rows)
    assert "| all | 2 / 3 |" in table(rows)


def test_a_command_ends_at_its_limit_with_what_it_said(machine: Machine) -> None:
    machine._times = 1
    began = time.monotonic()
    with pytest.raises(OutOfTime, match="ended after 5 s") as found:
        machine.python("log", "-c", "print('so far'); import time; time.sleep(60)", limit_s=5)
    assert found.value.said == "so far\n" and time.monotonic() - began < 30
    with pytest.raises(RuntimeError, match="exit status 3: why"):
        machine.python("log", "-c", "print('why'); raise SystemExit(3)", limit_s=60)
    machine.began -= 10_000
    with pytest.raises(RuntimeError, match="no time left"):
        machine.python("log", "-c", "", limit_s=60)


def test_a_run_is_asked_before_it_is_ended(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.gpu.LEAVE_S", 30.0)
    machine._times, stop = 1, machine.out / "stop"
    script = f"import pathlib, time\nwhile not pathlib.Path({str(stop)!r}).exists(): time.sleep(.05)\nprint('saved')"
    assert machine.python("log", "-c", script, limit_s=31, stop=stop) == "saved\n"


def test_shards_are_given_in_pairs(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--dry", "--train", "somewhere"])
    assert "expected TRAIN and VAL together" in capsys.readouterr().err


def test_a_machine_without_its_packages_gets_them_from_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One made here: pip reads it without a network."""
    from packaging.requirements import Requirement

    import benchmarks.gpu_wheels as wheels

    source = tmp_path / "source"
    (source / "found_in_a_folder").mkdir(parents=True)
    (source / "found_in_a_folder/__init__.py").write_text("")
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "found-in-a-folder"\nversion = "1.5"\n'
    )
    build = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", "-q"]
    subprocess.run([*build, "-w", tmp_path / "wheels", source], check=True, capture_output=True)
    monkeypatch.setattr(wheels, "requirements", lambda: [Requirement("found-in-a-folder>=1.5"), Requirement("numpy")])
    monkeypatch.setattr(sys, "path", sys.path.copy())
    environ: dict[str, str] = {}
    problem = wheels.provide(None, tmp_path / "packages", environ)
    assert problem is not None and problem.startswith(
        "expected found-in-a-folder>=1.5, found too old a version or none"
    )
    assert wheels.provide(tmp_path / "wheels", tmp_path / "packages", environ) is None
    assert environ["PYTHONPATH"] == f"{tmp_path / 'packages'}:{ROOT}"
    assert not wheels.unsatisfied(wheels.requirements())
    monkeypatch.setattr(wheels, "requirements", lambda: [Requirement("found-in-a-folder>=2")])
    problem = wheels.provide(tmp_path / "wheels", tmp_path / "others", environ)
    assert problem is not None and "expected wheels of found-in-a-folder>=2 for this Python too, found none" in problem


def test_what_a_run_needs_is_known() -> None:
    from benchmarks.gpu_wheels import LEFT_OUT, requirements, unsatisfied

    names = {each.name for each in requirements()}
    assert {"torch", "numpy", "omegaconf", "pytest", "pytest-timeout", "hypothesis"} <= names
    assert not unsatisfied(requirements())
    kept = [pin for pin in (ROOT / "constraints.txt").read_text().split() if not LEFT_OUT.match(pin)]
    pinned = {pin.partition("==")[0].lower() for pin in kept}
    assert {name.lower() for name in names} - pinned == {"torch"}
