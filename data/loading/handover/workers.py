"""Loader processes: forked from their own server, ignoring a scheduler's warnings, ended with the run."""

import atexit
import errno
import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from pathlib import Path
from typing import TypeVar

from data.loading.filling.reader import BatchReader
from data.parallel import end_with_parent

Item = TypeVar("Item")

#: sent by a scheduler to every process of a job
WARNINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


def start_fork_server() -> None:
    """Starts the server that workers are forked from: it imports their modules once and survives warnings.

    A warning sent to every process of a job would otherwise leave later workers without their server. Blocked signals
    stay blocked in the child; here they are only delayed, not lost.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload([BatchReader.__module__])
    before = signal.pthread_sigmask(signal.SIG_BLOCK, WARNINGS)
    try:
        _replace_dead_tracker()
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, WARNINGS)  # again: the tracker's start has unblocked some
        forkserver.ensure_running()
        _end_workers_at_exit()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_worker(_: int) -> None:
    """Ignores warnings, since the training process saves and still needs batches. Ends when that process does."""
    for number in WARNINGS:
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()


def answers_of(loader: Iterable[Item]) -> Iterator[Item]:
    """The iterator of a DataLoader, which starts its processes; blocks if the fork server hangs."""
    try:
        found = iter(loader)
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise
        # their semaphores are files there
        raise ValueError(
            f"data.workers: expected room and rights in /dev/shm to start loader processes, found: {error}; "
            "make room there or use data.workers=0"
        ) from error
    _end_workers_at_exit()
    try:
        yield from found
    finally:
        _replace_dead_tracker()


def _end_workers_at_exit() -> None:
    """Arranges the end of existing workers: Python would send a SIGTERM, which they ignore, and wait forever."""
    atexit.unregister(_end_workers)
    atexit.register(_end_workers)  # last registered, first called: before Python waits for the workers


def _end_workers() -> None:
    """Ends workers and their server: a server that hangs would never report that they are gone."""
    _replace_dead_tracker()
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]
    if server is not None:
        with suppress(ProcessLookupError):
            os.kill(server, signal.SIGKILL)


def _replace_dead_tracker() -> None:
    """Sends what Python tells a killed tracker of semaphores nowhere: a new one would print a traceback for each."""
    tracker = resource_tracker._resource_tracker._fd  # type: ignore[attr-defined]
    if tracker is not None:
        try:
            os.write(tracker, b"PROBE:0:noop\n")  # as Python does
        except BrokenPipeError:
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), tracker, inheritable=False)
