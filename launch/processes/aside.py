"""Work in a thread beside the main one, which keeps answering the other processes and hears signals."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")
LOOK_S = 1.0
UNDO_S = 1.0  # for work that is given up, to remove what it has begun


class Aside(Generic[T]):
    """A context in which the work is done; given up if the main thread leaves with an exception, such as Ctrl-C."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._done: Future[T] = Future()

    def __enter__(self) -> "Aside[T]":
        Thread(target=self._run, daemon=True, name="aside").start()  # daemon: the program does not wait for it
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None and not self._done.done():
            for job in multiprocessing.active_children():
                if not job.daemon:  # not a loader's: a process of data/parallel.py, without which the work ends
                    job.kill()
            with suppress(KeyboardInterrupt):
                wait([self._done], UNDO_S)

    def is_over(self) -> bool:
        """Whether it is done; waits up to a second."""
        return bool(wait([self._done], LOOK_S).done)

    def result(self) -> T:
        return self._done.result()

    def _run(self) -> None:
        try:
            self._done.set_result(self._work())
        except BaseException as error:
            self._done.set_exception(error)
