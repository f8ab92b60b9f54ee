"""Whole runs on a real Slurm of two nodes: whatever happens to them, they end with the bits of an undisturbed one.

The cluster is of namespaces on this machine (cluster.py). A run is held still while something is done to it, so that
nothing depends on how fast this machine is.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import ROOT
from tests.slurm.cluster import OVER, Cluster, missing, wait_until
from train.run.checkpoint_files import newest

pytestmark = [pytest.mark.slow, pytest.mark.slurm]
MAIN = str(ROOT / "train/main.py")
START_S = 120  # until torch has been loaded by everybody and a few steps are made, on a busy machine


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    reason = missing()
    if reason:
        pytest.skip(f"no Slurm here: {reason}")
    with Cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture(scope="session")
def config(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(
        f"""
        run: runs/small
        epochs: 8
        data: {{train: {shards}/train, val: {shards}/val, batch: 8, sides: [64, 96], workers: 1}}
        model: {{width: 0.0625, bn_momentum: 0.1}}
        step: {{precision: fp32}}
        schedule: {{rate: 1.0e-3, burn_in_images: 100, drop_images: [300]}}
        evaluate: {{side: 96, pictures: 0}}
        checkpoint: {{every_images: 32}}
        board: {{every_batches: 2}}
        """
    )
    return path


@pytest.fixture(scope="session")
def undisturbed(config: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of the last checkpoint, which holds a digest of every bit in it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    train_here(config, folder)
    return last_checkpoint(folder)


def train_here(config: Path, run: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*torchrun, MAIN, str(config), f"run={run}"], cwd=run, env=environ, check=True)


def last_checkpoint(run: Path) -> str:
    path = newest(run / "checkpoints")
    assert path is not None, f"no checkpoint in {run}"
    return path.name


class Run:
    """One run on both nodes, submitted as a person does it."""

    def __init__(self, cluster: Cluster, config: Path, folder: Path, name: str = "run") -> None:
        self.cluster, self.config, self.cwd, self.folder = cluster, config, folder, folder / "runs" / name

    def ask(self, *keys: str) -> str:
        given = ["nodes=2", "gpus_per_node=0", "cpus_per_process=1", f"run=runs/{self.folder.name}", *keys]
        return self.cluster.controller.run(sys.executable, "-m", "launch.submit", self.config, *given, cwd=self.cwd)

    def submit(self, *keys: str) -> str:
        said = self.ask(*keys)
        found = re.search(r"^job (\d+);", said, re.MULTILINE)
        assert found, said
        self.job = found[1]
        return self.job

    @contextmanager
    def held(self) -> Iterator[None]:
        """From the next checkpoint on."""
        before = self.position()
        wait_until(lambda: self.position() > before, f"a checkpoint of job {self.job}\n{self.said()}", START_S)
        numbers = [number for name in self.cluster.nodes for number in self.workers(name)]
        assert len(numbers) == 2
        for number in numbers:
            os.kill(number, signal.SIGSTOP)
        try:
            yield
        finally:
            for number in numbers:
                if Path(f"/proc/{number}").exists():
                    os.kill(number, signal.SIGCONT)

    def workers(self, node: str) -> list[int]:
        """The training process: not torchrun, not the loader's processes, not those of other runs."""
        found = self.cluster[node].processes("train/main.py", f" run=runs/{self.folder.name} ")
        return [
            number for number in found if b"torch.distributed.run" not in Path(f"/proc/{number}/cmdline").read_bytes()
        ]

    def position(self) -> int:
        names = [path.name for path in (self.folder / "checkpoints").glob("[0-9]*.pt")]
        return max((int(name.partition("-")[0]) for name in names), default=0)

    def said(self) -> str:
        return "\n".join(path.read_text() for path in sorted((self.folder / "logs").glob("*.log")))

    def end(self, timeout: float = 2 * START_S) -> dict[str, str]:
        return self.cluster.wait_for_state(self.job, OVER, timeout)

    def preempt(self) -> None:
        urgent = ["--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"]
        self.cluster.submit(*urgent, cwd=self.cwd)

    def job_state(self) -> str:
        return self.cluster.job(self.job)["JobState"]

    def complete(self, restarts: int) -> None:
        job = self.end()
        assert (job["JobState"], job["Restarts"]) == ("COMPLETED", str(restarts)), self.said()
        assert (self.folder / "finished").exists()
        events = EventAccumulator(str(self.folder / "board"), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            steps = [point.step for point in events.Scalars(tag)]
            assert len(steps) == len(set(steps)), f"{tag}: a value was logged twice"


@pytest.fixture
def run(cluster: Cluster, config: Path, tmp_path: Path) -> Iterator[Run]:
    cluster.wait_until_idle()
    place = tmp_path / "a place"
    place.mkdir()
    made = Run(cluster, config, place)
    yield made
    cluster.controller.start("scancel", made.job).wait()


@pytest.mark.timeout(600)
def test_a_run_whose_time_is_up_is_requeued_and_finishes(run: Run, undisturbed: str) -> None:
    said = run.ask("time=2", "warning=60", "--check")
    assert "2 ranks of 4 images" in said and re.search(r"to start at .* on nodes n\[1-2\]", said), said
    assert not run.folder.exists()
    run.submit("time=2", "warning=60")
    with run.held():
        wait_until(lambda: "the time is nearly up" in run.said(), "the warning", 120)
    run.complete(restarts=1)
    assert last_checkpoint(run.folder) == undisturbed
    assert "submit the run again" not in run.said()
    assert {path.name for path in (run.folder / "logs").glob("*.log")} == {f"job-{run.job}.log", "n1.log", "n2.log"}


@pytest.mark.timeout(600)
def test_a_run_is_killed_then_preempted_with_time_to_leave_and_finishes(run: Run, undisturbed: str) -> None:
    run.submit("partition=grace")
    with run.held():
        os.kill(run.workers("n2")[0], signal.SIGKILL)
    with run.held():  # the start after the crash, in the same allocation
        run.preempt()
        wait_until(lambda: run.cluster.job(run.job)["PreemptTime"] != "None", "preemption", 60)
    run.complete(restarts=1)
    assert "interrupted at" in run.said()
    assert last_checkpoint(run.folder) == undisturbed


@pytest.mark.timeout(600)
def test_a_run_is_preempted_then_loses_a_node_and_finishes_when_it_is_back(run: Run, undisturbed: str) -> None:
    run.submit()
    with run.held():
        at = run.position()
        run.preempt()
        wait_until(lambda: run.job_state() == "PENDING", "preemption", 60)
    wait_until(lambda: run.position() > at, "a checkpoint at the end", 60)
    with run.held():
        run.cluster.power_off("n2")
    wait_until(lambda: run.job_state() == "PENDING", "Slurm to miss the node", 240)
    run.cluster.boot("n2")
    run.complete(restarts=2)
    assert last_checkpoint(run.folder) == undisturbed


@pytest.mark.timeout(600)
def test_a_cancelled_run_has_saved_and_goes_on_from_its_checkpoint_elsewhere(run: Run, undisturbed: str) -> None:
    run.submit()
    with run.held():
        at = run.position()
        run.cluster.controller.run("scancel", run.job)
    assert run.end()["JobState"] == "CANCELLED"
    assert run.position() > at and (run.folder / "interrupted").exists(), run.said()
    elsewhere = run.cwd / "elsewhere"
    (elsewhere / "checkpoints").mkdir(parents=True)
    shutil.copy(run.folder / "checkpoints" / last_checkpoint(run.folder), elsewhere / "checkpoints")
    train_here(run.config, elsewhere)
    assert last_checkpoint(elsewhere) == undisturbed


@pytest.mark.timeout(600)
def test_runs_share_nodes_and_a_second_job_of_a_run_waits_for_the_first(run: Run, undisturbed: str) -> None:
    other = Run(run.cluster, run.config, run.cwd, "other")
    first = run.submit()
    other.submit()
    second = run.submit()
    wait_until(lambda: other.position() > 0, "the other run", START_S)
    assert run.cluster.job(first)["NodeList"] == run.cluster.job(other.job)["NodeList"] == "n[1-2]"
    assert run.cluster.job(second)["Reason"] == "Dependency"
    other.complete(restarts=0)
    run.complete(restarts=0)
    assert last_checkpoint(run.folder) == last_checkpoint(other.folder) == undisturbed
    assert f"job {first}, start 1: finished" in run.said() and f"job {second}, start 1: finished" in run.said()


@pytest.mark.timeout(600)
def test_shards_are_made_and_tasks_of_srun_train_on_them_without_torchrun(
    run: Run, drawn: Path, undisturbed: str
) -> None:
    """Two steps at once on the same nodes, which find each their own."""
    script = ["--cpus-per-task=1", ROOT / "slurm/shards.sbatch", "voc", drawn, "--shard-mb=0.15", "--split"]
    made = [run.cluster.submit(*script, f"2007:{split}", split, cwd=run.cwd) for split in ("train", "val")]
    train = f"srun --exact --ntasks=2 --cpus-per-task=1 {sys.executable} {MAIN} {run.config}"
    train += " data.train=train data.val=val"
    wrap = f"export OMP_NUM_THREADS=1; {train} run=a & {train} run=b & wait"
    size = ["--nodes=2", "--ntasks-per-node=2", "--output=steps.log"]
    size += [f"--dependency=afterok:{':'.join(made)}", "--kill-on-invalid-dep=yes"]
    run.job = run.cluster.submit(*size, f"--wrap={wrap}", cwd=run.cwd)
    assert run.end()["JobState"] == "COMPLETED", "".join(path.read_text() for path in run.cwd.glob("*.log"))
    assert last_checkpoint(run.cwd / "a") == last_checkpoint(run.cwd / "b") == undisturbed
