"""Loader processes: forked from their own server, ignoring a scheduler's warnings, ended with the run."""

import atexit
import errno
import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker, synchronize, util
from pathlib import Path
from threading import Lock
from typing import TypeVar

from data.loading.filling.reader import BatchReader
from data.parallel import end_with_parent

Item = TypeVar("Item")

#: sent by a scheduler to every process of a job
WARNINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
STARTING = Lock()  # held by one loader at a time, which can then tell its semaphores from those of others


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


def answers_of(loader: Iterable[Item], workers: int) -> Iterator[Item]:
    """The iterator of a DataLoader, which starts so many processes; blocks if the fork server hangs."""
    try:
        with STARTING:
            before = _names_of_semaphores()
            found = iter(loader)
            made = _names_of_semaphores() - before
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
        for number, answer in enumerate(found, 1):
            if number == workers:  # each has sent one and has thus opened all of them
                _remove_names(made)
            yield answer
    finally:
        _replace_dead_tracker()


def _names_of_semaphores() -> "set[util.Finalize]":
    """What Python calls at the end of a process to remove the file of each semaphore from /dev/shm."""
    registered = list(util._finalizer_registry.values())  # type: ignore[attr-defined]
    return {each for each in registered if each._callback is synchronize.SemLock._cleanup}  # type: ignore[attr-defined]


def _remove_names(of: "set[util.Finalize]") -> None:
    """Removes the files; the semaphores stay. If a whole job is killed, nobody is left to remove them."""
    _replace_dead_tracker()
    for remove in of:
        remove()


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
