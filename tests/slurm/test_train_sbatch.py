"""What the batch script of a run does next: srun and scontrol are replaced by what a case says, all else is real."""

import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from launch.jobs.batch_script import render
from launch.jobs.job import Job
from launch.submit import TEMPLATE

SAVES = 'mkdir -p run/checkpoints; touch "run/checkpoints/$(printf %09d $1)-0123456789abcdef.pt"'
WAITS_FOR_STOP = "until [ -e run/stop ]; do /bin/sleep 0.02; done"
PROGRAMS = {
    "srun": f"echo $* >> starts; starts=$(wc -l < starts); saves() {{ {SAVES}; }}; . ./case",
    "scontrol": "[ $1 = show ] && exec echo localhost; echo $2 >> requeued; [ -e forbidden ] && exit 1; kill -9 $PPID",
    "sleep": "exec /bin/sleep 0.05",
}


class Script:
    """slurm/train.sbatch under way, in a folder of its own."""

    def __init__(self, folder: Path, case: str, **job: int) -> None:
        self.folder = folder
        for name, text in PROGRAMS.items():
            program = folder / "bin" / name
            program.parent.mkdir(exist_ok=True)
            program.write_text(f"#!/bin/bash\n{text}\n")
            program.chmod(0o755)
        (folder / "case").write_text(case)
        (folder / "run.yaml").write_text("run: run")
        place = {"here": str(folder), "python": "python", "main": "main.py"}
        text = render(Job(gpus_per_node=0), TEMPLATE.read_text(), str(folder / "run.yaml"), [], {}, **place)
        (folder / "script").write_text(text.replace("\nwarning=300", f"\nwarning={job.get('warning', 300)}"))
        environ = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
        environ |= {"SLURM_JOB_NODELIST": "localhost", "SLURM_NNODES": "1", "SLURM_CPUS_PER_TASK": "8"}
        with (folder / "said").open("w") as said:
            self.process = subprocess.Popen(["bash", "script"], cwd=folder, env=environ, stdout=said, stderr=said)

    def signal_when(self, path: str, number: signal.Signals) -> None:
        """As soon as there is such a file."""
        while not (self.folder / path).exists():
            assert self.process.poll() is None, (self.folder / "said").read_text()
            time.sleep(0.02)
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        return self.process.wait(30), (self.folder / "said").read_text()

    @property
    def starts(self) -> list[str]:
        return (self.folder / "starts").read_text().splitlines()

    @property
    def requeued(self) -> bool:
        return (self.folder / "requeued").exists()


def test_a_run_that_finishes_is_done_whatever_torchrun_says(tmp_path: Path) -> None:
    script = Script(tmp_path, "touch run/finished; exit 1")
    code, said = script.end()
    assert (code, len(script.starts), script.requeued) == (0, 1, False) and "finished" in said


def test_before_its_time_is_up_a_run_is_asked_to_leave_and_is_requeued(tmp_path: Path) -> None:
    script = Script(tmp_path, f"touch waiting; {WAITS_FOR_STOP}; saves 64; touch run/interrupted")
    script.signal_when("waiting", signal.SIGUSR1)
    code, said = script.end()
    assert (code, len(script.starts)) == (-signal.SIGKILL, 1)
    assert script.requeued and "the time is up at 000000064 images; requeueing" in said


def test_a_run_that_takes_the_request_for_an_old_one_is_asked_again(tmp_path: Path) -> None:
    case = f"touch waiting; {WAITS_FOR_STOP}; rm run/stop; {WAITS_FOR_STOP}; saves 64; touch run/interrupted"
    script = Script(tmp_path, case)
    script.signal_when("waiting", signal.SIGUSR1)
    script.end()
    assert script.requeued


def test_a_run_that_does_not_leave_is_requeued_before_its_time_is_up(tmp_path: Path) -> None:
    script = Script(tmp_path, "saves 64; touch waiting; exec /bin/sleep 5", warning=2)
    script.signal_when("waiting", signal.SIGUSR1)
    began = time.monotonic()
    _, said = script.end()
    assert script.requeued and "does not exit" in said and 1 <= time.monotonic() - began < 10


def test_an_allocation_without_a_checkpoint_is_the_last(tmp_path: Path) -> None:
    script = Script(tmp_path, f"saves 64; touch waiting; {WAITS_FOR_STOP}; saves 64; touch run/interrupted")
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/checkpoints/000000064-0123456789abcdef.pt").touch()
    script.signal_when("waiting", signal.SIGUSR1)
    code, said = script.end()
    assert (code, script.requeued) == (1, False) and "give it more time" in said


def test_an_evaluation_is_progress_too(tmp_path: Path) -> None:
    """It changes the checkpoint, at the same position; and a damaged one further on hides no progress."""
    other = "rm run/checkpoints/*64-*; touch run/checkpoints/000000064-fedcba9876543210.pt"
    script = Script(tmp_path, f"saves 64; touch waiting; {WAITS_FOR_STOP}; {other}; touch run/interrupted")
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    for position in (64, 900):
        (tmp_path / f"run/checkpoints/{position:09d}-0123456789abcdef.pt").touch()
    script.signal_when("waiting", signal.SIGUSR1)
    _, said = script.end()
    assert script.requeued and "the time is up at 000000064 images" in said


def test_a_checkpoint_of_another_clock_hides_no_progress(tmp_path: Path) -> None:
    script = Script(tmp_path, f"touch waiting; {WAITS_FOR_STOP}; saves 128; touch run/interrupted")
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    path = tmp_path / "run/checkpoints/000000064-0123456789abcdef.pt"
    path.touch()
    os.utime(path, (time.time() + 600,) * 2)
    script.signal_when("waiting", signal.SIGUSR1)
    _, said = script.end()
    assert script.requeued and "the time is up at 000000128 images" in said


def test_a_run_that_a_person_stops_is_not_requeued(tmp_path: Path) -> None:
    script = Script(tmp_path, "saves 64; touch run/stop run/interrupted")
    code, said = script.end()
    assert (code, script.requeued) == (0, False) and "stopped by run/stop at 000000064 images" in said


def test_a_run_that_was_warned_without_this_script_is_requeued(tmp_path: Path) -> None:
    script = Script(tmp_path, "touch run/interrupted; exit 1")
    script.end()
    assert script.requeued


def test_a_cancelled_run_is_left_to_slurm(tmp_path: Path) -> None:
    case = "touch waiting; until [ -e told ]; do /bin/sleep 0.02; done; saves 64; touch run/interrupted; exit 1"
    script = Script(tmp_path, case)
    script.signal_when("waiting", signal.SIGTERM)
    (tmp_path / "told").touch()
    code, said = script.end()
    assert (code, len(script.starts), script.requeued) == (143, 1, False)
    assert "ended by Slurm at 000000064 images" in said


def test_a_run_that_has_never_worked_is_not_started_again(tmp_path: Path) -> None:
    script = Script(tmp_path, "exit 3")
    code, said = script.end()
    assert (code, len(script.starts), script.requeued) == (1, 1, False) and "srun ended with status 3" in said


def test_a_crash_is_followed_by_a_start(tmp_path: Path) -> None:
    script = Script(tmp_path, "[ $starts = 3 ] && touch run/finished && exit; saves ${starts}00; exit 1")
    code, _ = script.end()
    assert (code, len(script.starts), script.requeued) == (0, 3, False)
    names = [word for line in script.starts for word in line.split() if word.startswith("--rdzv-id")]
    assert len(set(names)) == 3


def test_three_starts_without_a_newer_checkpoint_are_the_last(tmp_path: Path) -> None:
    """The second brings one."""
    script = Script(tmp_path, "saves $((starts < 2 ? 100 : 200)); exit 1")
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    (tmp_path / "run/checkpoints/000000100-0123456789abcdef.pt").touch()
    code, said = script.end()
    assert (code, len(script.starts), script.requeued) == (1, 5, False)
    assert "saved no checkpoint newer than the one at 000000200 images" in said


def test_marks_of_an_earlier_start_count_for_nothing(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for name in ("finished", "interrupted", "stop"):
        (tmp_path / "run" / name).touch()
    script = Script(tmp_path, "exit 3")
    code, _ = script.end()
    assert (code, script.requeued) == (1, False)


def test_a_cluster_without_requeue_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "forbidden").touch()
    script = Script(tmp_path, "touch run/interrupted; exit 1")
    code, said = script.end()
    assert code == 75 and script.requeued and "submit the run again" in said


def test_a_port_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    with socket.create_server(("", 20007)):
        script = Script(tmp_path, "touch run/finished")
        script.end()
    assert "--rdzv-endpoint=localhost:20008 " in script.starts[0]


def test_scratch_of_another_user_is_not_used(tmp_path: Path) -> None:
    text = TEMPLATE.read_text()
    (private,) = re.findall(r"^private='(.*?)'$", text, re.MULTILINE | re.DOTALL)
    assert 'bash -c "$private" "$scratch" "${python[@]}"' in text

    def ran_with(folder: Path) -> str:
        words = ["bash", "-c", private, str(folder), "echo", "it", "ran"]
        return subprocess.run(words, capture_output=True, text=True).stdout

    assert ran_with(tmp_path / "new") == ran_with(tmp_path / "new") == "it ran\n"
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    if os.geteuid() == 0:
        (tmp_path / "link").symlink_to(tmp_path / "new")
        os.chown(tmp_path / "link", 65534, 65534, follow_symlinks=False)
        (tmp_path / "other").mkdir()
        os.chown(tmp_path / "other", 65534, 65534)
        for folder in ("link", "other"):
            assert f"error: {tmp_path / folder}: expected a folder of this user (0) on" in ran_with(tmp_path / folder)
