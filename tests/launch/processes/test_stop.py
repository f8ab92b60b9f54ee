"""A warning sets a flag and does nothing else; a file does the same; a mark says how the run ended."""

import errno
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import launch.processes.stop
from launch.command import Stopped
from launch.processes.environment import Environment
from launch.processes.stop import WARNINGS, Stop
from tests.conftest import small_disk


@pytest.fixture
def stop(tmp_path: Path) -> Stop:
    return Stop(tmp_path / "run", Environment())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_each_warning_sets_the_flag(stop: Stop, number: signal.Signals) -> None:
    with stop:
        assert not stop.look() and not stop.agreed()  # from here on there may be something to save
        signal.raise_signal(number)
        assert stop.look() and stop.agreed()
    assert stop.look()


@pytest.mark.parametrize("number", WARNINGS)
def test_before_the_first_step_a_warning_ends_whatever_is_waited_for(stop: Stop, number: signal.Signals) -> None:
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(number))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    with pytest.raises(Stopped, match="nothing was trained"), stop:
        time.sleep(20)
    assert {path.name for path in stop.run.iterdir()} == {"lock", "interrupted"}


def test_a_warning_ends_the_wait_for_another_attempt_and_leaves_its_folder_alone(tmp_path: Path) -> None:
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
    with Stop(tmp_path, Environment()) as first:
        first.agreed()
        first.mark(finished=True)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(Stopped), Stop(tmp_path, Environment()):
            pass
        assert {path.name for path in tmp_path.iterdir()} == {"lock", "finished"}


def test_a_start_that_fails_takes_no_mark_away(tmp_path: Path) -> None:
    (tmp_path / "finished").touch()
    with pytest.raises(ValueError, match="no config"), Stop(tmp_path, Environment()):
        raise ValueError("no config")
    assert (tmp_path / "finished").exists()


def test_a_disk_without_locks_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    with Stop(tmp_path, Environment()) as stop:
        assert not stop.agreed()
    assert "nothing keeps a second attempt from writing beside this one" in capsys.readouterr().err


def test_a_full_disk_under_the_lock_ends_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path, "16k") as disk:
        (disk / "filling").write_bytes(bytes(12 * 1024))
        with Stop(disk, Environment()) as stop:
            assert not stop.agreed()
            stop.mark(finished=True)


def test_several_warnings_in_a_burst_are_survived(stop: Stop) -> None:
    with stop:
        stop.agreed()
        for number in WARNINGS * 20:
            signal.raise_signal(number)
        assert stop.look()


def test_a_warning_interrupts_no_wait(stop: Stop) -> None:
    with stop:
        stop.agreed()
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        began = time.monotonic()
        time.sleep(0.2)
        assert time.monotonic() - began >= 0.2
        assert stop.look()


def test_the_handlers_of_before_come_back(stop: Stop) -> None:
    before = [signal.getsignal(number) for number in WARNINGS]
    with stop:
        assert all(signal.getsignal(number) not in before for number in WARNINGS)
    assert [signal.getsignal(number) for number in WARNINGS] == before


def test_the_handlers_of_before_come_back_after_an_error(stop: Stop) -> None:
    before = [signal.getsignal(number) for number in WARNINGS]
    with pytest.raises(FloatingPointError), stop:
        raise FloatingPointError
    assert [signal.getsignal(number) for number in WARNINGS] == before


def test_ctrl_c_still_ends_the_program(stop: Stop) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started us without it
    with pytest.raises(KeyboardInterrupt), stop:
        signal.raise_signal(signal.SIGINT)
    signal.signal(signal.SIGINT, before)


def test_a_file_asks_for_a_stop_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.processes.stop, "LOOK_EVERY_S", 0.02)
    first, second = Stop(tmp_path, Environment()), Stop(tmp_path, Environment(rank=1))
    (tmp_path / "stop").touch()  # left over: taken away when a run starts
    with first, second:
        assert not first.look()
        (tmp_path / "stop").touch()
        time.sleep(0.03)
        assert first.look() and not second.look()  # one process looks, all agree


class Pair:
    """Two processes that are threads here."""

    def __init__(self) -> None:
        self.barrier, self.numbers = threading.Barrier(2, timeout=30), [0, 0]
        self.rings = [0, 0]
        self.sent: tuple[list[int], list[int]] = ([], [])

    def environment(self, rank: int) -> Environment:
        def largest(_: Environment, number: int) -> int:
            self.numbers[rank] = number
            self.rings[rank] += 1
            self.barrier.wait()
            found = max(self.numbers)
            self.barrier.wait()
            return found

        return type("Threaded", (Environment,), {"max": largest, "__slots__": ()})(rank, 2)

    def stop(self, run: Path, rank: int) -> Stop:
        stop = Stop(run, self.environment(rank))
        stop._largest = SentBeside(self, rank)  # type: ignore[assignment]
        return stop


class SentBeside:
    """As `Largest`: what each sends, its n-th beside the n-th of the other."""

    def __init__(self, pair: Pair, rank: int) -> None:
        self.mine, self.others = pair.sent[rank], pair.sent[1 - rank]
        self.under_way = False

    def send(self, number: int) -> None:
        assert not self.under_way
        self.under_way = True
        self.mine.append(number)

    def read(self) -> int:
        end = time.monotonic() + 30
        while len(self.others) < len(self.mine):
            assert time.monotonic() < end, "the other one never came as far"
            time.sleep(1e-4)
        self.under_way = False
        return max(self.mine[-1], self.others[len(self.mine) - 1])


@pytest.mark.parametrize("warned", [None, 0, 1])
def test_a_process_that_waits_takes_part_until_all_agree_to_stop(tmp_path: Path, warned: int | None) -> None:
    pair = Pair()
    stops = [Stop(tmp_path, pair.environment(rank)) for rank in range(2)]
    with ThreadPoolExecutor(1) as thread:
        ready = thread.submit(stops[0].agreed)
        assert not any(stops[1].waiting() for _ in range(5))
        assert not ready.done()
        if warned is not None:
            stops[warned]._warn(signal.SIGTERM, None)
            while not stops[1].waiting():
                pass
        assert stops[1].agreed() is ready.result(30) is (warned is not None)
    if warned is not None:
        assert stops[0].agreed() and stops[1].agreed()  # and neither waits for the other any more


def loop(stop: Stop, chance: random.Random, warned_at: int, late: float, steps: int) -> int:
    """Steps made by a process whose batches are late with this chance, and with an evaluation now and then."""
    here = chance.random() >= late
    for number in range(steps):
        stop._warned |= number == warned_at
        if number % 7 == 6:  # an evaluation of two rounds; this process may wait for its batches too
            for _ in range(2):
                if (chance.random() < late and stop.waiting()) or stop.agreed():
                    return number
        while not here and not stop.waiting():
            here = chance.random() < 0.4
        here = chance.random() >= late  # the one after this
        if stop.agreed_ahead(following=here):
            return number
    return steps


@pytest.mark.parametrize("seed", range(60))
def test_both_stop_before_the_same_step_whoever_waits_and_whoever_is_warned(tmp_path: Path, seed: int) -> None:
    chance, pair = random.Random(seed), Pair()
    warned_at = [chance.choice([0, 1, 5, 6, 7, 12, 99]) for _ in range(2)]
    with ThreadPoolExecutor(2) as threads:
        ended = [
            threads.submit(
                loop,
                pair.stop(tmp_path, rank),
                random.Random(seed + 1000 * rank),
                warned_at[rank],
                chance.choice([0.0, 0.2, 0.8]),
                20,
            )
            for rank in range(2)
        ]
        first, second = (each.result(60) for each in ended)
    assert first == second
    assert min(*warned_at, 20) <= first <= min(*warned_at, 18) + 2
    assert pair.rings[0] == pair.rings[1]


def test_no_ring_of_hosts_is_left_where_nobody_waits(tmp_path: Path) -> None:
    pair = Pair()
    stops = [pair.stop(tmp_path, rank) for rank in range(2)]
    for here in [True] * 50 + [False] + [True] * 50:
        with ThreadPoolExecutor(2) as threads:
            said = threads.map(lambda stop: stop.agreed_ahead(following=here or stop.env.rank == 0), stops)  # noqa: B023
        assert [*said] == [False, False]
    assert pair.rings == [2, 2]  # before the first step, and before the one for which a process had no batch


def test_one_process_alone_stops_before_the_next_step(stop: Stop) -> None:
    assert not stop.agreed_ahead(following=True)
    stop._warn(signal.SIGTERM, None)
    assert stop.agreed_ahead(following=True)


def test_one_process_alone_waits_until_it_is_warned(stop: Stop) -> None:
    assert not stop.waiting() and not stop.agreed()
    stop._warn(signal.SIGTERM, None)
    assert stop.waiting() and stop.agreed()


def test_the_mark_of_the_end_replaces_the_one_of_before(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for finished, names in ((False, {"interrupted"}), (True, {"finished"}), (False, {"interrupted"})):
        with Stop(run, Environment()) as stop:
            assert not stop.agreed()
            assert {path.name for path in run.iterdir()} == {"lock"}
            stop.mark(finished=finished)
        assert {path.name for path in run.iterdir()} == names | {"lock"}
    with Stop(run, Environment(rank=1)) as other:
        other.mark(finished=True)
    assert {path.name for path in run.iterdir()} == {"interrupted", "lock"}


def test_a_second_attempt_waits_for_the_first(tmp_path: Path) -> None:
    with Stop(tmp_path, Environment()):
        held = subprocess.Popen([sys.executable, "-c", SECOND, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert held.stdout is not None and held.stdout.readline() == "waits\n"
        time.sleep(0.5)
        assert held.poll() is None
    assert held.communicate(timeout=30)[0] == "entered\n" and held.returncode == 0


SECOND = """
import sys
from pathlib import Path
from launch.processes.environment import Environment
from launch.processes.stop import Stop
print("waits", flush=True)
with Stop(Path(sys.argv[1]), Environment()):
    print("entered")
"""


def test_an_attempt_that_does_not_end_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.processes.stop, "PATIENCE_S", 0.3)
    message = f"{tmp_path} is in use by process {os.getpid()} on .*expected one attempt at a time"
    with Stop(tmp_path, Environment()), pytest.raises(ValueError, match=message), Stop(tmp_path, Environment()):
        pass
    with Stop(tmp_path, Environment(rank=1)), Stop(tmp_path, Environment()):
        pass
