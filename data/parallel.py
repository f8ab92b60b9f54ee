"""The same function over many jobs in as many processes as there are cores, with a progress bar on a terminal."""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Any, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Result = TypeVar("Result")


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_parallel(
    function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], workers: int, title: str
) -> list[Result]:
    """The results in the order of the jobs. workers: processes; 0: one for each core this process may use."""
    workers = min(workers or cores(), len(jobs))
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task(title, total=len(jobs))
        if workers <= 1:
            results = []
            for job in jobs:
                results.append(function(*job))
                progress.advance(task)
            return results
        with ProcessPoolExecutor(workers, get_context("forkserver"), _end_with_parent) as pool:
            futures = {pool.submit(function, *job): number for number, job in enumerate(jobs)}
            done: dict[int, Result] = {}
            try:
                for future in as_completed(futures):
                    done[futures[future]] = future.result()
                    progress.advance(task)
            except BrokenProcessPool:
                raise ChildProcessError(
                    f"{title}: a process was killed, for want of memory perhaps; try again with less than {workers} "
                    "--workers"
                ) from None
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # the first error ends it, not the last job
                raise
    return [done[number] for number in range(len(jobs))]


def _end_with_parent() -> None:
    """Where the program is killed, nobody tells its processes to stop, and they would meet those of the next run."""
    parent = parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()
