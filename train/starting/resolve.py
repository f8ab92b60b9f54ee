"""Resolves what a config leaves open until its set and machine are known: `auto` for `anchors`, `data.truth_slots` and
`step.precision`, and `data.classes`.

The result is the same on every process. A run with checkpoints keeps their anchors and its precision.
"""

from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from data.anchors import cluster, sizes_cells
from data.loading.batch import needed_slots
from data.shards.index import ShardIndex
from launch.processes.environment import Environment
from train.config import AUTO, VOC_ANCHORS, Config
from train.run.checkpoint_files import intact, read
from train.starting.saved_configs import earlier_starts, load_start
from train.stepping.config import Precision, fast_precision


def resolved(config: Config, index: ShardIndex, env: Environment) -> Config:
    """The config with values in place of auto, and the classes. All processes must call it."""
    if config.anchors == AUTO:
        anchors = env.on_rank_0(lambda: _kept_anchors(config) or _clustered(config, index))
        env.say(f"anchors=auto: {', '.join(f'{width:g} x {height:g}' for width, height in _pairs(anchors))} cells")
        config = replace(config, anchors=anchors)
    if config.data.truth_slots == AUTO:
        slots = needed_slots(index, config.data.augment)
        config = replace(config, data=replace(config.data, truth_slots=slots))
    if config.step.precision == AUTO:
        precision = env.on_rank_0(lambda: _kept_precision(config) or fast_precision(env.device))
        config = replace(config, step=replace(config.step, precision=precision))
    return replace(config, data=replace(config.data, classes=list(index.classes)))


def _kept_anchors(config: Config) -> list[float] | None:
    """Those of the newest checkpoint that has some; others are reported, and passed over, where one is restored."""
    for path in intact(Path(config.run) / "checkpoints"):
        with suppress(ValueError, OSError, KeyError, TypeError):
            return [float(number) for number in read(path)["network"]["anchors"]]
    return None


def _kept_precision(config: Config) -> Precision | None:
    starts = earlier_starts(Path(config.run))
    with suppress(ValueError):  # damaged: reported where the changes since that start are listed
        if starts and (precision := load_start(starts[-1]).step.precision) != "auto":
            return precision
    return None


def _clustered(config: Config, index: ShardIndex) -> list[float]:
    """Anchors from the sizes that an evaluation sees; the published ones if a set has too few distinct sizes."""
    sizes = sizes_cells(index, config.evaluate.side, config.data.resize)
    sizes = sizes[(sizes > 0).all(1)]
    try:
        clusters = cluster(sizes, config.num_anchors)
    except ValueError:
        return list(VOC_ANCHORS)
    return [max(round(float(number), 4), 1e-4) for number in clusters.reshape(-1)]


def _pairs(anchors: list[float]) -> list[tuple[float, float]]:
    return list(zip(anchors[::2], anchors[1::2], strict=True))
