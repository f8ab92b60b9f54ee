"""A warning sets a flag and does nothing else; a file does the same; a mark says how the run ended."""

import signal
import time
from pathlib import Path

import pytest

import launch.stop
from launch.environment import Environment
from launch.stop import WARNINGS, Stop


@pytest.fixture
def stop(tmp_path: Path) -> Stop:
    return Stop(tmp_path / "run", Environment())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_each_warning_sets_the_flag(stop: Stop, number: signal.Signals) -> None:
    with stop:
        assert not stop.requested and not stop.agreed()
        signal.raise_signal(number)
        assert stop.requested and stop.agreed()
    assert stop.requested


def test_several_warnings_in_a_burst_are_survived(stop: Stop) -> None:
    with stop:
        for number in WARNINGS * 20:
            signal.raise_signal(number)
        assert stop.requested


def test_a_warning_interrupts_no_wait(stop: Stop) -> None:
    with stop:
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        began = time.monotonic()
        time.sleep(0.2)
        assert time.monotonic() - began >= 0.2
        assert stop.requested


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
    with pytest.raises(KeyboardInterrupt), stop:
        signal.raise_signal(signal.SIGINT)


def test_a_file_asks_for_a_stop_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch.stop, "LOOK_EVERY_S", 0.02)
    first, second = Stop(tmp_path, Environment()), Stop(tmp_path, Environment(rank=1))
    (tmp_path / "stop").touch()  # left over: taken away when a run starts
    with first, second:
        assert not first.requested
        (tmp_path / "stop").touch()
        time.sleep(0.03)
        assert first.requested and not second.requested  # one process looks, all agree


def test_the_mark_of_the_end_replaces_the_one_of_before(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for finished, names in ((False, {"interrupted"}), (True, {"finished"}), (False, {"interrupted"})):
        with Stop(run, Environment()) as stop:
            assert not run.exists() or not list(run.iterdir())
            stop.mark(finished=finished)
        assert {path.name for path in run.iterdir()} == names
    with Stop(run, Environment(rank=1)) as other:
        other.mark(finished=True)
    assert {path.name for path in run.iterdir()} == {"interrupted"}
