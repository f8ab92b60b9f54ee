"""A scheduler's warning sets a flag and does nothing else."""

import signal
import time

import pytest

from launch.stop import WARNINGS, StopSignal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_each_warning_sets_the_flag(number: signal.Signals) -> None:
    with StopSignal() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested
    assert stop.requested


def test_several_warnings_in_a_burst_are_survived() -> None:
    with StopSignal() as stop:
        for number in WARNINGS * 20:
            signal.raise_signal(number)
        assert stop.requested


def test_a_warning_interrupts_no_wait() -> None:
    with StopSignal() as stop:
        signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        began = time.monotonic()
        time.sleep(0.2)
        assert time.monotonic() - began >= 0.2
        assert stop.requested


def test_the_handlers_of_before_come_back() -> None:
    before = [signal.getsignal(number) for number in WARNINGS]
    with StopSignal():
        assert all(signal.getsignal(number) not in before for number in WARNINGS)
    assert [signal.getsignal(number) for number in WARNINGS] == before


def test_the_handlers_of_before_come_back_after_an_error() -> None:
    before = [signal.getsignal(number) for number in WARNINGS]
    with pytest.raises(FloatingPointError), StopSignal():
        raise FloatingPointError
    assert [signal.getsignal(number) for number in WARNINGS] == before


def test_ctrl_c_still_ends_the_program() -> None:
    with pytest.raises(KeyboardInterrupt), StopSignal():
        signal.raise_signal(signal.SIGINT)
