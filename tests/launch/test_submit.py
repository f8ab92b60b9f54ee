"""A run is checked, shown and submitted from a login node."""

import sys
from pathlib import Path

import pytest

from launch.submit import main
from tests.launch.jobs.test_batch_script import options


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "own.yaml"
    path.write_text("run: runs/own\ndata: {train: here, val: there, batch: 64}\n")
    return str(path)


def test_it_is_shown_and_submitted_from_here(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sbatch = tmp_path / "bin/sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text('#!/bin/bash\nls -d runs/own/logs > found; cat > submitted; echo "42;cluster"\n')
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sbatch.parent}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    main([config, "nodes=2", "--dry-run"])
    shown = capsys.readouterr().out
    assert options(shown)["nodes"] == "2" and not (tmp_path / "submitted").exists()
    main([config, "nodes=2"])
    said = capsys.readouterr().out
    assert said.startswith(shown) and "job 42; logs: runs/own/logs" in said
    assert (tmp_path / "submitted").read_text() == shown and (tmp_path / "found").read_text() == "runs/own/logs\n"
    sbatch.write_text("#!/bin/bash\necho 'sbatch: error: invalid partition' >&2; exit 1\n")
    with pytest.raises(ValueError, match="sbatch refused the job: sbatch: error: invalid partition"):
        main([config])
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ValueError, match="no sbatch on this machine"):
        main([config])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data.bach=32", "own.yaml: data.bach=32: unknown key data.bach; did you mean data.batch"),
        ("sweep.seed=0,1 sweep.schedule.rate=1e-3,fast", "schedule.rate=fast: expected a number"),
        ("sweep.schedule.rat=1e-3,1e-2", "schedule.rat=0.001: unknown key schedule.rat; did you mean schedule.rate"),
        ("evaluate.iou_threshold=45", "evaluate.iou_threshold=45.*: expected 0 to 1"),
    ],
)
def test_keys_that_the_run_does_not_know_are_refused_before_it_is_queued(
    config: str, capsys: pytest.CaptureFixture[str], word: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        main([config, "--dry-run", *word.split()])
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("run", "message"),
    [("file/run", "file, a file"), ("link", "link, a link to nothing"), ("/proc/x", "/proc, which is on none")],
)
def test_a_run_that_can_have_no_folder_is_refused(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    Path("link").symlink_to("nowhere")
    with pytest.raises(ValueError, match=message):
        main([config, "--dry-run", f"run={run}"])


def test_a_python_that_cannot_ask_the_run_still_submits(
    config: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    main([config, "--dry-run", "data.bach=32"])
    assert "keys of the run were not checked: /bin/false" in capsys.readouterr().err


SBATCH = """#!/bin/bash
echo "$@" > asked; cat > tested
grep -q "partition=none" tested && echo "sbatch: error: invalid partition" >&2 && exit 1
echo "sbatch: Job 42 to start at noon" >&2
"""
PYTHON = """#!/bin/bash
echo "$@"; [ -e healthy ]
"""


def test_a_check_asks_the_run_and_slurm_and_submits_nothing(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, text in (("sbatch", SBATCH), ("python", PYTHON)):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/python"))

    def checked(*arguments: str) -> tuple[bool, str]:
        problem = ""
        try:
            main([config, "nodes=2", "gpus_per_node=4", "--check", *arguments])
        except ValueError as error:
            problem = str(error)
        captured = capfd.readouterr()
        return not problem, captured.out + captured.err + problem

    (tmp_path / "healthy").touch()
    well, said = checked("scratch=/fast", "epochs=3")
    assert well and "slurm       Job 42 to start at noon" in said
    assert f"-m train.check {config} --processes=8 epochs=3 data.staging=/fast/shards\n" in said
    assert (tmp_path / "asked").read_text() == "--test-only\n" and not (tmp_path / "runs").exists()
    well, said = checked("sweep.seed=0,1", "data.staging=/mine")
    assert well and all(f"seed={seed} run=runs/own/seed={seed}\n" in said for seed in (0, 1))
    assert "data.staging=/mine\n" in checked("data.staging=/mine")[1]
    well, said = checked("partition=none", "data.batch=12")
    assert not well and "leaves a remainder" in said
    well, said = checked("partition=none")
    assert not well and "sbatch refused the job: sbatch: error: invalid partition" in said
    (tmp_path / "healthy").unlink()
    assert not checked()[0]


@pytest.mark.parametrize("arguments", [[], ["--dry-run"], ["--check"], ["nodes=2"], ["--help"]])
def test_without_a_config_it_says_how_it_is_called(arguments: list[str]) -> None:
    with pytest.raises(ValueError, match=r"expected python -m launch\.submit CONFIG"):
        main(arguments)
