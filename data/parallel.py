"""Runs a function over many jobs in as many processes as there are cores, with a progress bar on a terminal."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context, parent_process
from queue import SimpleQueue
from threading import Thread, current_thread, main_thread
from types import FrameType
from typing import Any, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Result = TypeVar("Result")
AHEAD = 4  # jobs of each process, running and waiting


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_parallel(
    function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], workers: int, title: str
) -> list[Result]:
    """The results in the order of the jobs. workers: processes; 0: one for each available core.

    SIGTERM ends running jobs too, with KeyboardInterrupt or what the caller's handler of SIGTERM raises.
    """
    with _Interrupts() as interrupts:
        return _in_parallel(function, jobs, min(workers or cores(), len(jobs)), title, interrupts)


class _Interrupts:
    """Ctrl-C and other signals, which raise KeyboardInterrupt only where asked to.

    Elsewhere they could leave a lock of the pool held, for which its thread would then wait for ever.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._came: list[int] = []
        self._raising = False

    def __enter__(self) -> "_Interrupts":
        if current_thread() is main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                handler = signal.getsignal(number)
                if callable(handler) or (number == signal.SIGTERM and handler is signal.SIG_DFL):
                    self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        for number in self._came[:1]:  # the program decides what it means
            if callable(self._before[number]):
                self._before[number](number, None)
            elif kind is None:
                raise KeyboardInterrupt

    @contextmanager
    def raised(self) -> Iterator[None]:
        """A context in which they are raised, at once if one has come before."""
        self._raising = True
        try:
            if self._came:
                raise KeyboardInterrupt
            yield
        finally:
            self._raising = False

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        self._came.append(number)
        if self._raising:
            self._raising = False
            raise KeyboardInterrupt


def _in_parallel(
    function: Callable[..., Result],
    jobs: Sequence[tuple[Any, ...]],
    workers: int,
    title: str,
    interrupts: _Interrupts,
) -> list[Result]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task(title, total=len(jobs))
        done: dict[int, Result] = {}
        results = (
            _in_turn(function, jobs, interrupts) if workers <= 1 else _by_pool(function, jobs, workers, interrupts)
        )
        try:
            for number, result in results:
                done[number] = result
                progress.advance(task)
        except BrokenProcessPool:
            raise ChildProcessError(
                f"{title}: a process was killed, probably out of memory; try again with fewer than {workers} --workers"
            ) from None
    return [done[number] for number in range(len(jobs))]


def _in_turn(
    function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], interrupts: _Interrupts
) -> Iterator[tuple[int, Result]]:
    for number, job in enumerate(jobs):
        with interrupts.raised():
            result = function(*job)
        yield number, result


def _by_pool(
    function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], workers: int, interrupts: _Interrupts
) -> Iterator[tuple[int, Result]]:
    before = set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, get_context("forkserver"), end_with_parent) as pool:
        to_come, running, finished = iter(enumerate(jobs)), dict[Future[Result], int](), SimpleQueue[Future[Result]]()

        def start(count: int) -> None:
            for number, job in islice(to_come, count):
                future = pool.submit(function, *job)
                running[future] = number
                future.add_done_callback(finished.put)

        try:
            start(AHEAD * workers)
            while running:
                with interrupts.raised():
                    future = finished.get()
                yield running.pop(future), future.result()
                start(1)
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)  # the first error ends it, not the last job
            if not isinstance(error, Exception):  # Ctrl-C: running jobs end too
                for process in set(multiprocessing.active_children()) - before:
                    process.kill()
            raise


def end_with_parent() -> None:
    """Makes this multiprocessing child end when the program does, however the program ends.

    If the program is killed, nobody tells its children to stop, and they would overlap with those of the next run.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all processes; the program decides
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()
