"""A config and a few keys -> the batch script; what is wrong with them is said before anything is queued."""

import subprocess
from pathlib import Path

import pytest

from launch.jobs.batch_script import render
from launch.jobs.job import Job, parse
from launch.jobs.sweep import split_sweep
from launch.submit import TEMPLATE
from tests.conftest import ROOT

PLACE = {"here": "/home/me", "python": "/env/bin/python", "main": "/project/train/main.py"}


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "own.yaml"
    path.write_text("run: runs/own\ndata: {train: here, batch: 64}\n")
    return str(path)


def rendered(config: str, *arguments: str) -> str:
    sweep, rest = split_sweep(arguments)
    job, overrides = parse(rest)
    return render(job, TEMPLATE.read_text(), config, overrides, sweep, **PLACE)


def options(text: str) -> dict[str, str]:
    lines = [line.split()[1] for line in text.splitlines() if line.startswith("#SBATCH")]
    return dict(line.removeprefix("--").partition("=")[::2] for line in lines)


def variables(text: str, *names: str, **environ: str) -> list[str]:
    """As bash sees them, in the lines before it starts to do something."""
    values = "".join(f'printf "%s\\n" "${{{name}}}"; ' for name in names)
    script = text.partition("set -uo pipefail")[0] + values
    done = subprocess.run(
        ["bash", "-c", script], env={"TMPDIR": "/fast", **environ}, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_the_template_is_the_script_of_the_config_it_names() -> None:
    place = {"here": "/home/me", "python": "python", "main": "train/main.py"}
    text = render(Job(), TEMPLATE.read_text(), "configs/voc.yaml", [], {}, **place)
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
    text = render(Job(), TEMPLATE.read_text(), config, [], {}, **{**PLACE, "here": "/my home"})
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


def test_a_site_is_set_up_and_python_started_as_it_wants(config: str) -> None:
    lines = ["setup=export PLACE='a b'", "setup=loaded() { echo ${PLACE:-}$1; }; SAID=$(loaded ok)"]
    text = rendered(config, *lines, "python=apptainer exec --nv 'my image.sif' python", "main=/opt/train/main.py")
    assert variables(text, "PLACE", "SAID", "python[@]", "main") == [
        *("a b", "a bok", "apptainer", "exec", "--nv", "my image.sif", "python", "/opt/train/main.py")
    ]
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


def test_a_sweep_is_an_array_of_runs(config: str) -> None:
    text = rendered(config, "sweep.seed=0,1", "sweep.data.sides=[320],[320, 352]", "epochs=3", "at_once=2")
    found = options(text)
    assert found["array"] == "0-3%2" and "dependency" not in found
    assert found["output"] == "runs/own/logs/job-%A_%a.log"
    run = "runs/own/seed=1_data.sides=-320-352-"
    assert variables(text, "run", "arguments[@]", SLURM_ARRAY_TASK_ID="3") == [
        *(run, config, "epochs=3", f"data.staging=/fast/yolov2-{uid()}/shards"),
        *("seed=1", "data.sides=[320, 352]", f"run={run}"),
    ]
    after = rendered(config, "sweep.seed=0,1", "after=7")
    assert options(after)["dependency"] == "afterok:7" and options(after)["array"] == "0-1"
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


def uid() -> str:
    return subprocess.run(["id", "-u"], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nodes"], "'nodes': expected key=value"),
        (["nodes=two"], "nodes=two: expected a whole number"),
        (["node=2"], "node=2: unknown key of a job; did you mean nodes=2"),
        (["gpu_per_node=2"], "did you mean gpus_per_node=2"),
        (["nodes=0"], "nodes=0.* expected at least 1"),
        (["cpus_per_process=0"], "cpus_per_process=0: expected at least 1"),
        (["gpus_per_node=4", "processes_per_node=8"], "expected one process for each GPU"),
        (["time=a day"], "time=a day: expected a limit such as 24:00:00"),
        (["time=9"], "time=9 with warning=300: expected .* twice as much time"),
        (["warning=5"], "warning=5: expected at least 30 seconds"),
        (["at_once=-1"], "at_once=-1: expected a whole number"),
        (["sweep.seed"], "'sweep.seed': expected sweep.KEY=VALUE,VALUE"),
        (["sweep.seed=1,1"], "all different, found 2"),
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


@pytest.mark.parametrize("config", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_config_of_the_project_can_be_submitted(config: Path) -> None:
    text = rendered(str(config), "nodes=2", "gpus_per_node=4")
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
