"""Runs a function over many jobs in as many processes as there are cores, with a progress bar on a terminal."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from threading import Thread, current_thread, main_thread
from types import FrameType
from typing import Any, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Result = TypeVar("Result")


def cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_parallel(
    function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], workers: int, title: str
) -> list[Result]:
    """The results in the order of the jobs. workers: processes; 0: one for each available core.

    SIGTERM ends running jobs too, with KeyboardInterrupt or what the caller's handler of SIGTERM raises.
    """
    with _interruptible():
        return _in_parallel(function, jobs, min(workers or cores(), len(jobs)), title)


@contextmanager
def _interruptible() -> Iterator[None]:
    if current_thread() is not main_thread():
        yield
        return
    came = list[int]()

    def interrupt(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        if came and callable(before):
            before(signal.SIGTERM, None)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _in_parallel(
    function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], workers: int, title: str
) -> list[Result]:
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task(title, total=len(jobs))
        if workers <= 1:
            results = []
            for job in jobs:
                results.append(function(*job))
                progress.advance(task)
            return results
        before = set(multiprocessing.active_children())
        with ProcessPoolExecutor(workers, get_context("forkserver"), end_with_parent) as pool:
            futures = {pool.submit(function, *job): number for number, job in enumerate(jobs)}
            done: dict[int, Result] = {}
            try:
                for future in as_completed(futures):
                    done[futures[future]] = future.result()
                    progress.advance(task)
            except BrokenProcessPool:
                raise ChildProcessError(
                    f"{title}: a process was killed, probably out of memory; try again with fewer than {workers} "
                    "--workers"
                ) from None
            except BaseException as error:
                pool.shutdown(wait=False, cancel_futures=True)  # the first error ends it, not the last job
                if not isinstance(error, Exception):  # Ctrl-C: running jobs end too
                    for process in set(multiprocessing.active_children()) - before:
                        process.kill()
                raise
    return [done[number] for number in range(len(jobs))]


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
