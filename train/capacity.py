"""python -m train.capacity CONFIG [--processes N] [--gb 80] [key=value ...]: what fits into the memory of a device.

One row for each side: the peak memory of a step, and the most images that fit into one pass. Predicted (see
train/stepping/memory/peak.py) for this machine's device, or for one with the given GB. Libraries and what allocators
waste are not counted; a tenth of the device is reserved for them.
"""

import argparse
import sys
from collections.abc import Sequence

import torch

from data.wording import counted
from launch.command import run
from launch.processes.environment import Environment
from train.config import Config, load
from train.model import YOLOv2, build_model
from train.stepping.config import DTYPES
from train.stepping.memory.peak import Memory, step_memory
from train.stepping.memory.warm_up import USABLE_SHARE
from train.stepping.optimizer import num_moments


def memory_of(
    config: Config, side: int, *, processes: int = 1, local: int | None = None, parts: int | None = None
) -> Memory:
    """Memory of one process. local: images in a step; parts: 1 if auto. None: as in the config."""
    step = config.step
    return step_memory(
        _model(config),
        side=side,
        local=local or config.data.batch // processes,
        parts=parts or (1 if step.accumulate == "auto" else int(step.accumulate)),
        dtype=DTYPES["bf16" if step.precision == "auto" else step.precision],  # the device may be another machine's
        averaged=bool(step.ema or step.ema_images),
        moments=num_moments(step),
        recompute=step.recompute,
        distributed=processes > 1,
        truth_slots=config.data.num_slots,
        prefetched=True,
    )


def most_images(config: Config, side: int, room: float, *, processes: int = 1) -> int:
    """The most images of a pass that fit into `room` bytes; 0 if none does."""
    most = 0
    for bit in reversed(range(16)):
        tried = most + 2**bit
        if memory_of(config, side, processes=processes, local=tried, parts=1).total <= room:
            most = tried
    return most


def _model(config: Config) -> YOLOv2:
    """The model on the meta device. The number of classes hardly matters: VOC's if the config does not say."""
    with torch.device("meta"):
        model = build_model(config.model, len(config.data.classes or range(20)), config.num_anchors)
    if config.step.freeze == "backbone":
        model.freeze_backbone()
    return model


def table(config: Config, room: float, processes: int) -> str:
    """A row for each side: memory by what it holds, the most images that fit into `room` bytes, and the parts."""
    local = config.data.batch // processes
    lines = [
        f"{counted(local, 'image')} in each process, {room / 1e9:.1f} GB of memory",
        f"{'side':>5}{'GB':>8}{'weights':>9}{'gradients':>11}{'batch':>7}{'activations':>13}"
        f"{'most images':>13}{'parts':>7}",
    ]
    for side in sorted(set(config.data.sides)):
        memory = memory_of(config, side, processes=processes)
        most = most_images(config, side, room, processes=processes)
        parts = next((n for n in range(1, local + 1) if local % n == 0 and local // n <= most), None)
        numbers = "".join(
            f"{size / 1e9:{width}.2f}" for size, width in zip((memory.total, *memory), (8, 9, 11, 7, 13), strict=True)
        )
        lines.append(f"{side:>5}{numbers}{most:>13}{parts or 'none':>7}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.capacity", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", metavar="CONFIG")
    parser.add_argument("--processes", type=int, default=1, help="processes of the run, one for each device")
    parser.add_argument("--gb", type=float, help="memory of a device; default: that of this machine's")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    options = parser.parse_intermixed_args(arguments)
    if options.gb is not None and not options.gb > 0:
        raise ValueError(f"--gb {options.gb:g}: expected more than 0")
    config = load(options.config, options.overrides, opens_sets=False)
    if options.processes < 1 or config.data.batch % options.processes:
        raise ValueError(
            f"data.batch={config.data.batch} over --processes {options.processes} leaves a remainder; use a divisor"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    room = USABLE_SHARE * (options.gb * 1e9 if options.gb else Environment(device=device).memory())
    print(table(config, room, options.processes))


if __name__ == "__main__":
    sys.exit(run(main))
