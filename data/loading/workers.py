"""Processes of the loader: forked from a server of their own, deaf to a scheduler's warnings, gone with the run."""

import atexit
import multiprocessing
import signal
from multiprocessing import forkserver, resource_tracker

from data.parallel import end_with_parent

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


def end_workers_at_exit() -> None:
    """To be called once they are there. Else Python would end them by SIGTERM, which they ignore, and wait for ever."""
    atexit.unregister(_end_workers)
    atexit.register(_end_workers)  # last registered, first called: before Python waits for the workers


def _end_workers() -> None:
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
