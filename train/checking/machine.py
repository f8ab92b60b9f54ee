"""What this machine would give a run: rights to its folder, open files, room for decoded images."""

import os
import resource
from pathlib import Path

import numpy as np

from data.files import own_folder
from data.shards.index import ShardIndex
from train.checking.report import Report, amount, nearest

FILES, FILES_OF_A_WORKER = 48, 16  # a run of one process has some 30 open at once, and 12 for each of data.workers


def require_writable(folder: Path) -> None:
    """ValueError: a run could not write there."""
    there = nearest(folder)
    if not there.is_dir():
        raise ValueError(f"{folder}: expected a folder, found the file {there}; choose another `run`")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(
            f"{folder}: expected a folder that this user can write to, found that nothing can be written in {there}; "
            "correct its rights or choose another `run`"
        )


def require_open_files(workers: int) -> None:
    """ValueError: a process may have fewer files open than it will need."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = FILES + FILES_OF_A_WORKER * workers
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise ValueError(
            f"expected {needed} open files for a process with data.workers={workers}, found a limit of {limit}; raise "
            "it with ulimit -n, or take fewer data.workers"
        )


def say_room_for_decoded(folder: Path, index: ShardIndex, report: Report) -> None:
    """Too little is no error: what does not fit is decoded each time. ValueError for a folder of another user."""
    if folder.exists():
        own_folder(folder)
    size = int((index.arrays["widths"].astype(np.int64) * index.arrays["heights"]).sum()) * 3
    free = report.free(folder)
    rest = "" if free >= size else "; what does not fit is decoded each time"
    report.say("cache", f"{folder}: {amount(size)} of decoded images, {amount(free)} free on this machine{rest}")
