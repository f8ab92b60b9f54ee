"""Processes of the loader: forked from a server of their own, deaf to a scheduler's warnings, gone with the run."""

import atexit
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from multiprocessing import forkserver, resource_tracker
from threading import Thread
from typing import TypeVar

from data.parallel import end_with_parent

Item = TypeVar("Item")

LOOK_S = 1.0
PATIENCE_S = 600.0  # without a batch, while the shards are there

#: a scheduler sends them to every process of a job
WARNINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


def start_fork_server() -> None:
    """What workers are forked from: it imports their modules once, and no warning of a scheduler ends it.

    A warning that goes to every process of a job would otherwise leave the next workers without their server. Blocked
    signals stay blocked in the child; here they wait a moment, and are not lost.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload(["data.loading.reader"])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WARNINGS)
    try:
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, WARNINGS)  # again: the tracker's start has unblocked some
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_worker(_: int) -> None:
    """Deaf to warnings: saving is the training process's business, which still needs batches. Gone when that is."""
    for number in WARNINGS:
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()


def next_of(found: Iterator[Item], stopping: Callable[[], bool] | None) -> Item | None:
    """The next item of a DataLoader; None: `stopping`, which is asked every `LOOK_S` while nothing comes.

    ChildProcessError: a worker was killed, or all of them stand still.
    """
    coming: Future[Item] = Future()

    def wait_for_it() -> None:
        try:
            coming.set_result(next(found))
        except BaseException as error:
            coming.set_exception(error)

    Thread(target=wait_for_it, daemon=True, name="next batch").start()
    began = time.monotonic()
    while not wait([coming], LOOK_S).done:
        if stopping and stopping():
            return None
        if time.monotonic() - began > PATIENCE_S:
            numbers = ", ".join(str(child.pid) for child in multiprocessing.active_children())
            raise ChildProcessError(
                f"no batch for {PATIENCE_S:.0f} s: see what the loader processes {numbers} and the disk of the shards "
                "do, and start the run again"
            )
    try:
        return coming.result()
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ChildProcessError(
            f"a loader process was killed, by a person or because memory ran out ({str(error).splitlines()[0]}); start "
            "the run again, with fewer data.workers if it happens again"
        ) from None


def end_workers_at_exit() -> None:
    """To be called once they are there. Else Python would end them by SIGTERM, which they ignore, and wait for ever."""
    atexit.unregister(_end_workers)
    atexit.register(_end_workers)  # last registered, first called: before Python waits for the workers


def _end_workers() -> None:
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
