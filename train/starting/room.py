"""Room on the disks that a run writes to: for checkpoints, the board, shards from elsewhere, decoded images."""

import resource
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from data.loading.filling.decoded_cache import require_usable
from data.remote.addresses import is_remote
from data.shards.index import ShardIndex
from data.wording import size_text
from launch.processes.environment import Environment
from train.config import Config
from train.schedule.duration import RunLength
from train.stepping.step import Step

# bytes of TensorBoard's files, roughly, as measured; and of all other files in a run folder
LOG_LINE, PICTURE, CURVES, CHARTS = 2_000, 100_000, 2_600, 4_000_000


class Need(NamedTuple):
    folder: Path
    size: int  # bytes, beyond what is there
    what: str  # for display: "of checkpoints"


def nearest(folder: Path) -> Path:
    """The folder, or its nearest existing parent."""
    return next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())


def free(folder: Path) -> int:
    """Free bytes on the disk where this folder is, or would be."""
    return shutil.disk_usage(nearest(folder)).free


def num_bytes(state: object) -> int:
    """Bytes of all tensors in a nested state."""
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    inner = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return sum(num_bytes(item) for item in inner)


def for_checkpoints(config: Config, size: int) -> Need:
    """size: of each. The newest, the best, and the one being written."""
    folder = Path(config.run) / "checkpoints"
    there = sum(path.lstat().st_size for path in folder.glob("*.pt"))
    return Need(folder, max((config.checkpoint.keep + 2) * size - there, 0), f"of checkpoints of {size_text(size)}")


def for_board(config: Config, run: RunLength, images: int, num_classes: int) -> Need:
    """images: seen so far."""
    left = max(run.images - images, 0)
    lines = left // (config.data.batch * config.board.every_batches)
    evaluations = -(-left // (run.images_per_epoch * config.evaluate.epochs_between(config.epochs)))
    each = (config.evaluate.pictures + 1) * PICTURE + num_classes * CURVES
    size = lines * LOG_LINE + evaluations * each + CHARTS * bool(left)
    return Need(Path(config.run) / "board", size, "of its board and charts")


def for_staging(config: Config, index: ShardIndex) -> Need:
    """Room for the shards of a remote set."""
    staging = Path(config.data.staging or "")
    size = sum(shard.bytes for shard in index.shards)
    there = sum(path.stat().st_size for path in (staging / index.folder.name).glob("*.tar*"))
    return Need(staging, max(size - there, 0), f"of shards of {index.folder.name}")


def for_decoded(folder: Path, index: ShardIndex) -> Need:
    size = int((index.arrays["widths"].astype(np.int64) * index.arrays["heights"]).sum()) * 3
    return Need(folder, size, "of decoded images")


def lacking(needs: Iterable[Need]) -> list[str]:
    """A sentence for each that does not fit on its disk beside those before it."""
    left: dict[int, int] = {}
    sentences = []
    for folder, size, what in needs:
        disk = nearest(folder).stat().st_dev
        room = left.setdefault(disk, free(folder))
        left[disk] = max(room - size, 0)
        if room < size:
            sentences.append(
                f"{folder}: expected room for {size_text(size)} {what}, found {size_text(room)}; free some space or "
                "choose another folder"
            )
    return sentences


def say_room(config: Config, step: Step, sets: Mapping[str, ShardIndex], env: Environment, images: int) -> None:
    """Says which disks will fill up, once for all processes. sets: by their keys in `data`. images: seen so far.

    ValueError or OSError if not even one checkpoint can be written, or no decoded image kept.
    """
    run = RunLength(sets["train"].num_samples, config.epochs)
    remarks = env.on_rank_0(lambda: _on_run(config, step, sets, run, images))
    for remark in dict.fromkeys([*remarks, *_on_machines(config, sets, env)]):
        env.say(remark)


def _on_run(config: Config, step: Step, sets: Mapping[str, ShardIndex], run: RunLength, images: int) -> list[str]:
    if images >= run.images:
        return []
    size = num_bytes(step.state_dict())
    require_one(Path(config.run) / "checkpoints", size)
    return lacking([for_checkpoints(config, size), for_board(config, run, images, len(sets["train"].classes))])


def require_one(folder: Path, size: int) -> None:
    """ValueError unless a checkpoint of this size can be written."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit != resource.RLIM_INFINITY and limit < size:
        raise ValueError(
            f"{folder}: expected files of {size_text(size)} to be allowed, for checkpoints, found a limit of "
            f"{size_text(limit)}; raise it with ulimit -f"
        )
    usage = shutil.disk_usage(nearest(folder))
    if usage.total and usage.free < size:  # some network disks do not say
        raise ValueError(
            f"{folder}: expected room for a checkpoint of {size_text(size)}, found {size_text(usage.free)}; free some "
            "space or choose another `run`"
        )


def _on_machines(config: Config, sets: Mapping[str, ShardIndex], env: Environment) -> list[str]:
    """Remarks of all processes, on rank 0."""
    remote = [index for name, index in sets.items() if is_remote(getattr(config.data, name))]
    remarks = lacking(for_staging(config, index) for index in remote)
    if config.data.decoded_cache:
        folder = Path(config.data.decoded_cache)
        for index in sets.values():
            require_usable(index, folder)
        short = lacking(for_decoded(folder, index) for index in sets.values())
        remarks += [f"{each}; images that do not fit are decoded each time" for each in short]
    return [remark for each in env.gather(remarks) for remark in each]
