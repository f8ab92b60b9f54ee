"""Whole runs as a user starts them: they repeat bit for bit, stop when asked and resume where they ended."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from threading import Timer

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import ROOT, launch
from tests.servers import Liar, free_port, nginx
from train.run.checkpoint_files import newest, read


@pytest.fixture
def config(tmp_path: Path, shards: Path) -> Path:
    """A small network with every kind of layer, 53 images, batches that do not divide them."""
    path = tmp_path / "small.yaml"
    path.write_text(
        f"""
        recipe: darknet
        epochs: 12
        data: {{train: {shards}/train, val: {shards}/val, batch: 8, sides: [64, 96], workers: 0}}
        model: {{width: 0.0625, bn_momentum: 0.1}}
        step: {{precision: fp32, accumulate: 2, ema_images: 100}}
        schedule: {{rate: 1.0e-3, burn_in_images: 100, drop_images: [400]}}
        evaluate: {{side: 96, pictures: 1}}
        checkpoint: {{every_images: 64}}
        board: {{every_batches: 3}}
        """
    )
    return path


#: The recipe for random weights: AdamW, clipping (in many steps here), a cosine, averaged weights, anchors of the set
SCRATCH = ["recipe=scratch", "schedule.burn_in='5 %'", "schedule.drop_images=null", "schedule.shape=cosine"]
SCRATCH += ["step.ema='20 %'", "step.clip_norm=20"]
#: Several images on a canvas until almost the end, so that the stop lies in them
TURNS = "flip_vertical: 0.5, transpose: 0.5"
SCRATCH += [f"data.augment={{mosaic: 0.5, mixup: 0.3, {TURNS}, scale_min: 0.7, scale_max: 1.3}}"]


def final_state(run: Path) -> dict[str, torch.Tensor]:
    path = newest(run / "checkpoints")
    assert path is not None
    step = read(path)["step"]
    moments = {f"{name} {k}": v for k, state in step["optimizer"]["state"].items() for name, v in state.items()}
    averages = {f"average {k}": v for k, v in step["ema"].items()}
    return {"images": torch.tensor(int(path.name.split("-")[0])), **step["model"], **moments, **averages}


@contextmanager
def process_group(command: list[str]) -> Iterator["subprocess.Popen[str]"]:
    """A command whose output is read; killed with all of its processes when the test ends, or after two minutes."""
    run = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    )
    kill = partial(os.killpg, run.pid, signal.SIGKILL)
    timer = Timer(120, kill)
    timer.start()
    try:
        yield run
    finally:
        timer.cancel()
        with suppress(ProcessLookupError):
            kill()
        run.communicate()


def stop_at_line(number: int, *arguments: str, processes: int) -> str:
    """Starts a run and sends SIGTERM, to torchrun itself where there is one, after so many log lines."""
    start = [sys.executable, str(ROOT / "train/main.py")]
    if processes > 1:
        start = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={processes}",
            start[1],
        ]
    lines = ""
    with process_group([*start, *arguments]) as run:
        assert run.stdout is not None
        for line in run.stdout:
            lines += line
            number -= "images/s" in line
            if number == 0:
                run.send_signal(signal.SIGTERM)
        run.wait(timeout=120)
    return lines


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(
    ("precision", "options"),
    [("fp32", []), ("fp32", SCRATCH), ("bf16", [*SCRATCH, "step.accumulate=auto", "step.recompute=true"])],
    ids=["darknet-fp32", "scratch-fp32", "scratch-bf16"],
)
def test_a_stopped_and_resumed_run_ends_with_the_same_bits(
    config: Path, tmp_path: Path, processes: int, precision: str, options: list[str]
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    common = [str(config), f"step.precision={precision}", *options]
    launch(*common, f"run={whole}", processes=processes)
    stop_at_line(5, *common, f"run={parts}", processes=processes)
    stopped_at = int(final_state(parts)["images"])
    assert 0 < stopped_at < 12 * 53 and stopped_at % 53, f"stopped at {stopped_at}, not in the middle of an epoch"
    assert (parts / "interrupted").exists() and not (parts / "finished").exists()
    launch(*common, f"run={parts}", "data.workers=1", processes=processes)
    assert (parts / "finished").exists() and not (parts / "interrupted").exists()
    expected, found = final_state(whole), final_state(parts)
    assert expected.keys() == found.keys() and expected["images"] == 640  # 12 * 53 filled up to whole batches
    differing = [name for name in expected if not torch.equal(expected[name], found[name])]
    assert not differing
    for tag, points in scalars(parts).items():
        assert len(points) == len(set(points)), f"{tag}: a step was logged twice"
    assert len(scalars(parts)["mAP/voc_area"]) == 12  # no evaluation left out, none repeated


COUNTS = """
import sys
from launch.processes.environment import Environment, leave
from train.main import main
from train.stepping.step import Step

events = []
for kind, name in ((Step, "__call__"), *((Environment, name) for name in ("max", "gather", "broadcast", "barrier"))):
    def noted(self, *given, _work=getattr(kind, name), _name=name):
        events.append("step" if _name == "__call__" else "hosts")
        return _work(self, *given)
    setattr(kind, name, noted)
main(sys.argv[1:])
first, last = events.index("step"), len(events) - 1 - events[::-1].index("step")
sys.stderr.write(f"{events.count('step')} {events[first : last + 1].count('hosts')}\\n")  # whole: two processes write
leave()
"""


@pytest.mark.slow
def test_between_steps_no_host_talks_to_another(config: Path, tmp_path: Path) -> None:
    """Log lines included; evaluation and saving come at the end here."""
    (tmp_path / "counts.py").write_text(COUNTS)
    rare = ["epochs=6", "evaluate.every_epochs=6", "checkpoint.every_images=100000", "checkpoint.every_minutes=60"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(tmp_path / "counts.py"), str(config), f"run={tmp_path}/run", *rare],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("images/s") >= 40 // 3
    assert [line for line in done.stderr.splitlines() if line in ("40 0", "40 1")] == ["40 0"] * 2


@pytest.mark.slow
def test_a_run_whose_set_has_grown_keeps_what_it_trains(config: Path, shards: Path, tmp_path: Path) -> None:
    """Its epochs are longer than those that it has evaluated; its end is saved and evaluated all the same."""
    run = f"run={tmp_path}/run"
    launch(str(config), run, "epochs=3", f"data.train={shards}/val")
    assert final_state(tmp_path / "run")["images"] == 64  # 3 * 21 filled up to whole batches
    launch(str(config), run, "epochs=3")
    assert final_state(tmp_path / "run")["images"] == 160 and (tmp_path / "run/finished").exists()
    assert max(scalars(tmp_path / "run")["mAP/voc_area"]) == 160


@pytest.mark.slow
def test_four_processes_go_on_with_the_same_bits_and_two_go_on_too(config: Path, tmp_path: Path) -> None:
    """With the same images (tests/data/loading/filling/test_order.py), but sums and batch statistics of other parts."""
    whole, parts, others = tmp_path / "whole", tmp_path / "parts", tmp_path / "others"
    common = [str(config), "epochs=3"]
    launch(*common, f"run={whole}", processes=4)
    stop_at_line(3, *common, f"run={parts}", processes=4)
    stopped_at = int(final_state(parts)["images"])
    assert 0 < stopped_at < 160 and stopped_at % 53
    shutil.copytree(parts, others)
    launch(*common, f"run={parts}", "data.workers=1", processes=4)
    launch(*common, f"run={others}", processes=2)
    expected, same = final_state(whole), final_state(parts)
    assert expected["images"] == final_state(others)["images"] == 160 and expected.keys() == same.keys()
    assert not [name for name in expected if not torch.equal(expected[name], same[name])]
    for run in (parts, others):
        assert len(scalars(run)["mAP/voc_area"]) == 3  # no evaluation left out, none repeated


@pytest.mark.slow
def test_a_run_on_shards_from_elsewhere_ends_with_the_same_bits(config: Path, shards: Path, tmp_path: Path) -> None:
    """From a slow server: training begins with what has come, and two processes share one copy."""
    local, remote = tmp_path / "local", tmp_path / "remote"
    launch(str(config), f"run={local}", "epochs=2", processes=2)
    with nginx(shards, tmp_path / "nginx", "50k") as address:
        there = [f"data.{name}={address}/{name}" for name in ("train", "val")]
        here = f"data.staging={tmp_path}/staging"
        launch(str(config), f"run={remote}", "epochs=2", *there, here, "data.workers=1", processes=2)
    expected, found = final_state(local), final_state(remote)
    assert expected.keys() == found.keys()
    assert not [name for name in expected if not torch.equal(expected[name], found[name])]
    requests = (tmp_path / "nginx/access").read_text().split()
    asked = [request for request in requests if request.endswith(".tar")]
    assert len(asked) == len(set(asked)) == len(list(shards.glob("*/*.tar")))


@pytest.mark.slow
def test_a_run_that_waits_for_its_shards_leaves_when_one_process_is_warned(
    config: Path, shards: Path, tmp_path: Path
) -> None:
    run, environ = tmp_path / "run", {**os.environ, "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    with nginx(shards, tmp_path / "nginx", "4k") as address:
        there = [f"data.{name}={address}/{name}" for name in ("train", "val")]
        command = [sys.executable, str(ROOT / "train/main.py"), str(config), f"run={run}", *there]
        processes = [
            subprocess.Popen(
                [*command, f"data.staging={tmp_path}/staging"],
                env={**environ, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        assert processes[0].stderr is not None
        while not (tmp_path / "run/config.yaml").exists():
            assert processes[0].poll() is None, processes[0].stderr.read()
            time.sleep(0.1)
        time.sleep(3)  # in the warm-up, or waiting: both must do
        processes[1].send_signal(signal.SIGUSR2)
        for process in processes:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    assert (run / "interrupted").exists()
    assert [path.name.partition("-")[0] for path in (run / "checkpoints").iterdir()] == ["000000000"]


@pytest.mark.slow
def test_a_run_on_wrong_bytes_ends_with_the_name_of_the_shard(config: Path, shards: Path, tmp_path: Path) -> None:
    with Liar({path.name: path.read_bytes() for path in (shards / "train").iterdir()}) as liar:
        liar.behaviour["shard-000001.tar"].extend(["altered"] * 2)
        remote = [f"data.train={liar.address}", f"data.staging={tmp_path}/staging", f"run={tmp_path}/run"]
        done = launch(str(config), *remote, check=False)
        assert done.returncode and "Traceback" not in done.stderr
        assert f"\nerror: {liar.address}/shard-000001.tar: expected bytes of SHA-256" in done.stderr
        launch(str(config), *remote, "epochs=1")


def scalars(run: Path) -> dict[str, list[int]]:
    events = EventAccumulator(str(run / "board"))
    events.Reload()
    return {tag: [point.step for point in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.slow
def test_a_run_leaves_its_config_checkpoints_and_board_and_a_finished_one_does_nothing(
    config: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    launch(str(config), f"run={run}", "epochs=2")
    assert (run / "config.yaml").exists() and list((run / "checkpoints").glob("best-*.pt"))
    assert {"At a glance/loss", "train/side", "speed/data_wait_share", "mAP/voc_11point"} <= scalars(run).keys()
    before = {path: path.stat().st_mtime_ns for path in (run / "checkpoints").iterdir()}
    assert "images/s" not in launch(str(config), f"run={run}", "epochs=2").stdout
    assert before == {path: path.stat().st_mtime_ns for path in (run / "checkpoints").iterdir()}
    other = launch(str(config), f"run={run}", "model.width=0.125", check=False)
    assert other.returncode and "model.width 0.0625 -> 0.125: refused: " in other.stderr
    drawn = tmp_path / "pictures"
    picture = next((tmp_path.parent).glob("drawn*/VOC2007/JPEGImages/*.jpg"))
    command = [sys.executable, "-m", "train.detect", str(run), str(picture), "--out", str(drawn), "--threshold", "0.01"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (drawn / picture.name).exists() and str(picture) in done.stdout


@pytest.mark.slow
def test_a_run_out_of_patience_is_over(config: Path, tmp_path: Path) -> None:
    stuck = ["evaluate.patience=1", "schedule.rate=1e-12", f"run={tmp_path}/run"]  # nothing is ever found
    first = launch(str(config), *stuck)
    assert "evaluate.patience=1: ended" in first.stderr
    again = launch(str(config), *stuck)
    assert "images/s" in first.stdout and "images/s" not in again.stdout
    for each in (first, again):
        assert " images seen\n" in each.stdout and "the same command resumes" not in each.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "processes", "message"),
    [
        (["data.batchs=4"], 1, "data.batchs"),
        (["data.train=/nowhere"], 1, "no shards at /nowhere"),
        (["data.classes=[cat,dog]"], 1, "cat, dog"),
        (["data.batch=7"], 2, "data.batch=7 over 2 processes leaves a remainder"),
    ],
)
def test_a_wrong_start_ends_with_one_clear_line(
    config: Path, tmp_path: Path, arguments: list[str], processes: int, message: str
) -> None:
    done = launch(str(config), f"run={tmp_path}/run", *arguments, processes=processes, check=False)
    assert done.returncode and message in done.stderr
    assert "error: " in done.stderr
