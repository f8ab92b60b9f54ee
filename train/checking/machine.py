"""Checks what this machine offers a run: permissions in its folder, open files, room for decoded images."""

import os
import resource
import shutil
from pathlib import Path

import torch

from data.files import private_folder
from data.shards.index import ShardIndex
from data.wording import size_text
from launch.processes.machine import memory_left
from train.capacity import memory_of
from train.checking.report import Report
from train.config import Config
from train.starting.room import for_decoded, free, nearest

FILES, FILES_OF_A_WORKER = 48, 16  # a run of one process has some 30 open at a time, and 12 for each of data.workers


def require_writable(folder: Path, key: str) -> None:
    """ValueError if a run could not write there. key: of the config, which names the folder."""
    there = nearest(folder)
    if not there.is_dir():
        raise ValueError(f"{folder}: expected a folder, found the file {there}; choose another `{key}`")
    if missing := [place for place in (folder, *folder.parents) if place.is_symlink() and not place.exists()]:
        raise ValueError(f"{folder}: expected a folder, found {missing[0]}, a link to nothing; choose another `{key}`")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ValueError(
            f"{folder}: expected a folder that this user can write to, found no write permission in {there}; "
            f"fix its permissions or choose another `{key}`"
        )
    if not shutil.disk_usage(there).total:  # as of /proc
        raise ValueError(
            f"{folder}: expected a folder on a disk, found none for files in {there}; choose another `{key}`"
        )


def require_open_files(workers: int) -> None:
    """ValueError if a process may open fewer files than it will need."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = FILES + FILES_OF_A_WORKER * workers
    if limit != resource.RLIM_INFINITY and limit < needed:
        raise ValueError(
            f"expected {needed} open files for a process with data.workers={workers}, found a limit of {limit}; raise "
            "it with ulimit -n, or use fewer data.workers"
        )


def say_memory(config: Config, processes: int, report: Report) -> None:
    """Reports the predicted memory of a step; remarks on it if this machine, without a GPU, has less left."""
    side, auto = max(config.data.sides), config.step.accumulate == "auto"
    needed = memory_of(config, side, processes=processes).total
    text = f"{size_text(needed)} in each process for a step at {side} px, predicted"
    report.say("memory", f"{text}; less if that does not fit, in as few parts as possible" if auto else text)
    left = memory_left()
    if not torch.cuda.is_available() and not auto and needed * processes > left:
        report.say(
            "remark",
            f"memory: {processes} x {size_text(needed)} do not fit into the {size_text(left)} that this machine, "
            "without a GPU, has left; step.accumulate=auto takes less at a time",
        )


def say_room_for_decoded(folder: Path, index: ShardIndex, report: Report) -> None:
    """Reports the room for decoded images: too little is no error. ValueError for another user's folder."""
    require_writable(folder, "data.decoded_cache")
    if folder.exists():
        private_folder(folder)
    _, size, what = for_decoded(folder, index)
    room = free(folder)
    rest = "" if room >= size else "; images that do not fit are decoded each time"
    report.say("cache", f"{folder}: {size_text(size)} {what}, {size_text(room)} free on this machine{rest}")
