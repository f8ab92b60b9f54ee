"""Work beside the main thread is given up, with its processes, when the main thread is interrupted."""

import multiprocessing
import time

import pytest

from data.parallel import in_parallel
from launch.processes.aside import Aside


def test_the_result_and_the_error_of_the_work_are_those_of_the_call() -> None:
    with Aside(lambda: 3) as aside:
        assert aside.is_over() and aside.result() == 3
    with pytest.raises(ZeroDivisionError), Aside(lambda: 1 // 0) as failing:
        failing.result()


def test_the_main_thread_is_told_once_a_second_that_it_goes_on() -> None:
    with Aside(lambda: time.sleep(1.5)) as aside:
        assert [aside.is_over(), aside.is_over()] == [False, True]


def test_work_that_does_not_end_is_left_behind() -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt), Aside(lambda: time.sleep(30)):
        raise KeyboardInterrupt
    assert time.monotonic() - began < 10


def test_processes_of_the_work_end_and_it_can_undo_what_it_began() -> None:
    undone, others = [], set(multiprocessing.active_children())

    def children() -> set[object]:
        return set(multiprocessing.active_children()) - others

    def work() -> None:
        try:
            in_parallel(time.sleep, [(60,)] * 2, 2, "sleeping")
        finally:
            undone.append(True)

    def interrupted() -> None:
        with Aside(work):
            while len(children()) < 2:
                time.sleep(0.05)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    end = time.monotonic() + 20  # on a busy machine
    while (not undone or children()) and time.monotonic() < end:
        time.sleep(0.05)
    assert undone and not children()
