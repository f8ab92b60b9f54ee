"""Processes of the loader: forked from a server of their own, deaf to a scheduler's warnings, gone with the run."""

import atexit
import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from typing import TypeVar

from data.parallel import end_with_parent

Item = TypeVar("Item")

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
        _end_workers_at_exit()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_worker(_: int) -> None:
    """Deaf to warnings: saving is the training process's business, which still needs batches. Gone when that is."""
    for number in WARNINGS:
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()


def answers_of(loader: Iterable[Item]) -> Iterator[Item]:
    """Iterator of a DataLoader, which starts its processes: a fork server that hangs keeps its caller waiting."""
    found = iter(loader)
    _end_workers_at_exit()
    yield from found


def _end_workers_at_exit() -> None:
    """Arrange their end, once they exist: Python would send a SIGTERM, which they ignore, and wait for ever."""
    atexit.unregister(_end_workers)
    atexit.register(_end_workers)  # last registered, first called: before Python waits for the workers


def _end_workers() -> None:
    """And their server: one that stands still would never tell that they have gone."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    if server is not None:
        with suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)
