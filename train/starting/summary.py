"""The summary of a start before its first step, in at most ten lines: what is trained, on what, how, from where."""

from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from data.shards.index import ShardIndex
from data.view.attempts import Attempts
from data.wording import counted, size_text
from launch.processes.environment import Environment
from launch.redact import redacted
from train.config import Config
from train.model import build_model
from train.starting.fit import remarks_on
from train.starting.room import say_room
from train.starting.sets import changed_sets
from train.stepping.memory.warm_up import memory_at
from train.stepping.step import Step


def print_summary(
    config: Config, train: ShardIndex, val: ShardIndex, step: Step, env: Environment, images: int
) -> None:
    """Prints the summary once for all processes, on stderr. config: resolved. images: seen so far."""
    sets = {"train": train, "val": val}
    say_room(config, step, sets, env, images)
    for remark in [*changed_sets(Path(config.run), sets), *remarks_on(config, train)]:
        env.say(remark)
    if env.rank == 0:
        attempt = Attempts("training starts without it")
        attempt("the summary of the start", lambda: env.say(summary(config, train, val, step, env, images)))


def summary(config: Config, train: ShardIndex, val: ShardIndex, step: Step, env: Environment, images: int) -> str:
    """The lines of the summary."""
    parameters = sum(each.numel() for each in step.model.parameters())
    batch, end = config.data.batch, config.epochs * train.num_samples
    device = torch.cuda.get_device_name(env.device) if env.device.type == "cuda" else "CPU"
    seen, epoch = counted(images, "image"), images // train.num_samples + 1
    resumed = f"resumes after {seen}, epoch {epoch}" if images < end else f"complete after {seen}"
    position = resumed if images else "from the start"
    lines = {
        "network": f"{config.model.variant}, {parameters:,} parameters, {gflop(config, train):.3g} GFLOP at "
        f"{config.evaluate.size} px",
        "train": f"{redacted(config.data.train)}: {_content(train)}",
        "val": f"{redacted(config.data.val)}: {_content(val)}",
        "on": f"{env.world_size} x {device}, {str(step.dtype).removeprefix('torch.')}, "
        f"{'compiled' if step.compiled else 'eager'}; {_memory(config, step, env)}",
        "how": f"recipe {config.recipe}, batch {batch}, {counted(config.epochs, 'epoch')}, {counted(end, 'image')}, "
        f"{' to '.join(map(str, sorted({min(config.data.sides), max(config.data.sides)})))} px",
        "run": f"{config.run}, {position}; tensorboard --logdir {config.run}",
    }
    return "\n".join(f"{name:<9}{text}" for name, text in lines.items())


def _memory(config: Config, step: Step, env: Environment) -> str:
    """The predicted memory; `step.accumulate=auto` may take less."""
    side, local = max(config.data.sides), config.data.batch // env.world_size
    size = memory_at(step, side, local, config.data.num_slots, step.parts).total
    at_most = "at most " if config.step.accumulate == "auto" else ""
    return f"{at_most}{size_text(size)} in each process for a step at {side} px"


def gflop(config: Config, index: ShardIndex) -> float:
    """GFLOP for one image at the size of evaluation; a multiplication and an addition count as two."""
    with torch.device("meta"):
        model = build_model(config.model, len(index.classes), config.num_anchors).eval()
        width, height = config.evaluate.size_px
        image = torch.empty(1, 3, height, width)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    return float(counter.get_total_flops() / 1e9)


def _content(index: ShardIndex) -> str:
    objects, classes = counted(len(index.arrays["labels"]), "object"), counted(len(index.classes), "class")
    return f"{counted(index.num_samples, 'image')}, {objects}, {classes}"
