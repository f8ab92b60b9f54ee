"""A config and a few keys -> the batch script; what is wrong with them is said before anything is queued."""

import subprocess
import sys
from pathlib import Path

import pytest

from launch.submit import TEMPLATE, Job, main, parse, render, seconds
from tests.conftest import ROOT

PLACE = {"here": "/home/me", "python": "/env/bin/python", "main": "/project/train/main.py"}


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "own.yaml"
    path.write_text("run: runs/own\ndata: {train: here, batch: 64}\n")
    return str(path)


def rendered(config: str, *arguments: str) -> str:
    job, overrides = parse(arguments)
    return render(job, TEMPLATE.read_text(), config, overrides, **PLACE)


def options(text: str) -> dict[str, str]:
    lines = [line.split()[1] for line in text.splitlines() if line.startswith("#SBATCH")]
    return dict(line.removeprefix("--").partition("=")[::2] for line in lines)


def variables(text: str, *names: str) -> list[str]:
    """As bash sees them, in the lines before it starts to do something."""
    values = "".join(f'printf "%s\\n" "${{{name}}}"; ' for name in names)
    script = text.partition("set -uo pipefail")[0] + values
    done = subprocess.run(["bash", "-c", script], env={"TMPDIR": "/fast"}, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_template_is_the_script_of_the_config_it_names() -> None:
    place = {"here": "/home/me", "python": "python", "main": "train/main.py"}
    text = render(Job(), TEMPLATE.read_text(), "configs/voc.yaml", [], **place)
    differing = set(text.splitlines()) - set(TEMPLATE.read_text().splitlines())
    arguments = 'arguments=(configs/voc.yaml "data.staging=$scratch/shards")'
    assert differing == {arguments, "#SBATCH --job-name=voc@/home/me/runs"}


def test_the_job_gets_what_was_asked_for(config: str) -> None:
    text = rendered(config, "nodes=2", "gpus_per_node=4", "cpus_per_process=12", "time=2-12", "warning=600")
    found = options(text)
    assert {"nodes": "2", "ntasks-per-node": "1", "gpus-per-node": "4", "cpus-per-task": "48"}.items() <= found.items()
    assert {"time": "2-12", "signal": "B:USR1@600", "requeue": "", "open-mode": "append"}.items() <= found.items()
    assert {"job-name": "own@/home/me/runs", "dependency": "singleton"}.items() <= found.items()
    assert found["output"] == "runs/own/logs/job-%j.log" and "partition" not in found
    assert variables(text, "run", "processes", "warning", "python", "main", "OMP_NUM_THREADS") == [
        *("runs/own", "4", "600", "/env/bin/python", "/project/train/main.py", "1")
    ]


def test_every_run_has_a_job_name_of_its_own(config: str) -> None:
    assert options(rendered(config, "run=/data/runs/a"))["job-name"] == "a@/data/runs"
    text = render(Job(), TEMPLATE.read_text(), config, [], **{**PLACE, "here": "/my home"})
    assert "#SBATCH --job-name='own@/my home/runs'\n" in text


def test_where_and_for_whom_it_runs(config: str) -> None:
    named = {"partition": "a100", "account": "vision", "qos": "long", "constraint": "nvlink", "mem": "200G"}
    named |= {"reservation": "week", "exclude": "n[3-4]"}
    found = options(rendered(config, *(f"{name}={value}" for name, value in named.items()), "after=123"))
    assert named.items() <= found.items() and found["dependency"] == "singleton,afterok:123"
    assert found["kill-on-invalid-dep"] == "yes" and "kill-on-invalid-dep" not in options(rendered(config))


def test_on_the_cpu_threads_do_the_arithmetic(config: str) -> None:
    text = rendered(config, "gpus_per_node=0", "processes_per_node=2", "cpus_per_process=3", "nodes=2")
    assert "gpus-per-node" not in options(text) and options(text)["cpus-per-task"] == "6"
    assert variables(text, "processes", "OMP_NUM_THREADS") == ["2", "3"]


def test_the_run_gets_its_own_keys_as_they_were_written(config: str) -> None:
    words = ["weights=it's my.weights", "data.sides=[320, 352]", "run=elsewhere/a-1", "data.batch=$HOME"]
    text = rendered(config, "nodes=2", "gpus_per_node=1", *words)
    assert variables(text, "arguments[@]") == [config, *words, f"data.staging=/fast/yolov2-{uid()}/shards"]
    assert variables(text, "run") == ["elsewhere/a-1"] and options(text)["job-name"] == "a-1@/home/me/elsewhere"


def test_shards_are_staged_where_the_config_says_else_on_the_nodes_own_disk(config: str) -> None:
    assert variables(rendered(config, "data.staging=/nvme"), "arguments[@]") == [config, "data.staging=/nvme"]
    text = rendered(config, "scratch=/local disk")
    assert variables(text, "arguments[1]", "TORCHINDUCTOR_CACHE_DIR") == [
        *("data.staging=/local disk/shards", "/local disk/compiled")
    ]


def uid() -> str:
    return subprocess.run(["id", "-u"], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("time", "expected"),
    [("90", 5400), ("90:30", 5430), ("24:00:00", 86400), ("2-12", 216000), ("1-0:30", 88200), ("1-0:0:9", 86409)],
)
def test_time_limits_as_slurm_reads_them(time: str, expected: int) -> None:
    assert seconds(time) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nodes"], "'nodes': expected key=value"),
        (["nodes=two"], "nodes=two: expected a whole number"),
        (["node=2"], "node=2: no such key of a job; did you mean nodes=2"),
        (["gpu_per_node=2"], "did you mean gpus_per_node=2"),
        (["nodes=0"], "nodes=0.* expected at least 1"),
        (["cpus_per_process=0"], "cpus_per_process=0: expected at least 1"),
        (["gpus_per_node=4", "processes_per_node=8"], "expected one process for each GPU"),
        (["time=a day"], "time=a day: expected a limit such as 24:00:00"),
        (["time=9"], "time=9 with warning=300: expected .* twice that much time"),
        (["warning=5"], "warning=5: expected at least 30 seconds"),
        (["partition=a b"], "partition='a b': expected a value without spaces"),
        (["run=my run"], r"expected `run`, the folder of the run, .* found 'my run'"),
        (["run=null"], "found None"),
        (["nodes=3", "gpus_per_node=8"], "data.batch=64 over 24 processes leaves a remainder; use a multiple of 24"),
        (["data=[1,2"], r"data=\[1,2: expected YAML"),
    ],
)
def test_what_is_wrong_is_said(config: str, arguments: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rendered(config, *arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no config at .*; configs/ holds"),
        ("- 1\n- 2", "expected YAML of `key: value` lines"),
        ("a: [", "expected YAML"),
    ],
)
def test_what_is_no_config(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "other.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ValueError, match=message):
        rendered(str(path))


def test_it_is_shown_and_submitted_from_here(
    config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sbatch = tmp_path / "bin/sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text('#!/bin/bash\nls -d runs/own/logs > found; cat > submitted; echo "42;cluster"\n')
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sbatch.parent}:/usr/bin:/bin")
    monkeypatch.chdir(tmp_path)
    main(config, "nodes=2", "--dry-run")
    shown = capsys.readouterr().out
    assert options(shown)["nodes"] == "2" and not (tmp_path / "submitted").exists()
    main(config, "nodes=2")
    said = capsys.readouterr().out
    assert said.startswith(shown) and "job 42; what it says: runs/own/logs" in said
    assert (tmp_path / "submitted").read_text() == shown and (tmp_path / "found").read_text() == "runs/own/logs\n"
    sbatch.write_text("#!/bin/bash\necho 'sbatch: error: invalid partition' >&2; exit 1\n")
    with pytest.raises(SystemExit, match="error: sbatch refuses the job: sbatch: error: invalid partition"):
        main(config)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SystemExit, match="error: no sbatch on this machine"):
        main(config)


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
        with pytest.raises(SystemExit) as caught:
            main(config, "nodes=2", "gpus_per_node=4", "--check", *arguments)
        captured = capfd.readouterr()
        return not caught.value.code, captured.out + captured.err

    (tmp_path / "healthy").touch()
    well, said = checked("scratch=/fast", "epochs=3")
    assert well and "slurm       Job 42 to start at noon" in said
    assert f"-m train.check {config} --processes=8 epochs=3 data.staging=/fast/shards\n" in said
    assert (tmp_path / "asked").read_text() == "--test-only\n" and not (tmp_path / "runs").exists()
    assert "data.staging=/mine\n" in checked("data.staging=/mine")[1]
    well, said = checked("partition=none", "data.batch=12")
    assert not well and "leaves a remainder" in said
    well, said = checked("partition=none")
    assert not well and "sbatch refuses the job: sbatch: error: invalid partition" in said
    (tmp_path / "healthy").unlink()
    assert not checked()[0]


@pytest.mark.parametrize("arguments", [[], ["--dry-run"], ["--check"], ["nodes=2"], ["--help"]])
def test_without_a_config_it_says_how_it_is_called(arguments: list[str]) -> None:
    with pytest.raises(SystemExit, match=r"expected python -m launch\.submit CONFIG"):
        main(*arguments)


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_of_the_project_can_be_submitted(config: Path) -> None:
    text = rendered(str(config), "nodes=2", "gpus_per_node=4")
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
