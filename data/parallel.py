"""The same function over many jobs in as many processes as there are cores, with a progress bar on a terminal."""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any, TypeVar

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Result = TypeVar("Result")


def in_parallel(
    function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], workers: int, title: str
) -> list[Result]:
    """The results in the order of the jobs. workers: processes; 0: one for each core this process may use."""
    workers = min(workers or len(os.sched_getaffinity(0)), len(jobs))
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, disable=not sys.stderr.isatty(), transient=True) as progress:
        task = progress.add_task(title, total=len(jobs))
        if workers <= 1:
            results = []
            for job in jobs:
                results.append(function(*job))
                progress.advance(task)
            return results
        with ProcessPoolExecutor(workers, mp_context=get_context("forkserver")) as pool:
            futures = {pool.submit(function, *job): number for number, job in enumerate(jobs)}
            done: dict[int, Result] = {}
            try:
                for future in as_completed(futures):
                    done[futures[future]] = future.result()
                    progress.advance(task)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)  # the first error ends it, not the last job
                raise
    return [done[number] for number in range(len(jobs))]
