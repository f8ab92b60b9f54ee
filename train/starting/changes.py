"""Changes in a run's config between its starts, and what the run does about them.

docs/running.md has RULES as a table.
"""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from launch.keys import shown
from launch.processes.environment import Environment
from train.config import Config, flat
from train.starting.saved_configs import earlier_starts, load_start


class Rule(NamedTuple):
    keys: tuple[str, ...]  #: shell patterns
    refused: bool
    effect: str  #: for display: the effect of the change, or why it is refused


RULES = (
    Rule(
        ("anchors", "data.classes", "model.variant", "model.passthrough", "model.width", "model.layers", "model.graph"),
        True,
        "the weights belong to another network",
    ),
    Rule(
        ("seed", "data.window"),
        True,
        "it decides the order of samples: some would come twice in this epoch and others never",
    ),
    Rule(("step.optimizer",), True, "the moments belong to another optimizer"),
    Rule(
        ("evaluate.protocol",), True, "its number decides which network is best, and two protocols cannot be compared"
    ),
    Rule(
        ("epochs",),
        False,
        "the run ends there, or at once if it has seen more; shares of it (5 %, a cosine) change with it",
    ),
    Rule(("schedule.*",), False, "the rate is what the new schedule says at this position"),
    Rule(
        ("step.momentum", "step.betas", "step.eps", "step.decay", "step.clip_norm"),
        False,
        "from the next step on; the moments are kept",
    ),
    Rule(("step.ema", "step.ema_images"), False, "if no average was kept, it starts from the current weights"),
    Rule(("step.precision",), False, "weights and moments are always float32; fp16 starts with its own scale"),
    Rule(("step.freeze",), False, "from the next step on; unfrozen layers start with the moments they had"),
    Rule(
        ("step.accumulate", "step.compile", "step.compress", "step.bucket_mb", "step.recompute"),
        False,
        "sums are rounded differently; batch norm sees the images of one part",
    ),
    Rule(("loss.*",), False, "from the next step on; losses before and after cannot be compared"),
    Rule(("data.batch",), False, "the position, in images, is kept; the rate is not adapted"),
    Rule(
        (
            "data.sides",
            "data.batches_per_side",
            "data.augment.*",
            "data.truth_slots",
            "data.geometry",
            "data.colour",
            "model.bn_momentum",
        ),
        False,
        "from the next batch on",
    ),
    Rule(
        ("data.train",),
        False,
        "copies of the same shards continue exactly; others continue at this position of their own order",
    ),
    Rule(
        (
            "data.val",
            "data.resize",
            "evaluate.side",
            "evaluate.height",
            "evaluate.score_threshold",
            "evaluate.iou_threshold",
            "evaluate.max_detections",
        ),
        False,
        "from the next evaluation on; the best so far keeps its mAP",
    ),
    Rule(("evaluate.*",), False, "from the next evaluation on"),
    Rule(
        ("weights", "model.objectness_bias", "drawn", "drawn.*"), False, "no effect: only a run's first start uses it"
    ),
    Rule(("recipe",), False, "no effect by itself: keys whose defaults it changes are listed"),
    Rule(
        ("run", "data.workers", "data.staging", "data.decoded_cache", "data.max_faults", "checkpoint.*", "board.*"),
        False,
        "results are unaffected",
    ),
)


class Change(NamedTuple):
    key: str
    first: Any  #: at the run's first start
    last: Any  #: at the previous start
    now: Any

    def __str__(self) -> str:
        if self.last == self.now:
            return f"{self.key} {_shown(self.first)} -> {_shown(self.now)} since an earlier start"
        first = "" if self.first == self.last else f" ({_shown(self.first)} at first)"
        return f"{self.key} {_shown(self.last)} -> {_shown(self.now)}{first}"


def rule_of(key: str) -> Rule:
    return next(rule for rule in RULES if any(fnmatchcase(key, pattern) for pattern in rule.keys))


def changes_since(first: Config, last: Config, now: Config) -> list[Change]:
    """Keys whose value differs from that at the first or the last start."""
    earliest, before, here = flat(first), flat(last), flat(now)
    keys = [*here, *(key for key in before if key not in here)]  # those of a removed section
    changes = [Change(key, earliest.get(key), before.get(key), here.get(key)) for key in keys]
    if last.data.classes is None:  # of a run that did not record its shards' classes
        changes = [change for change in changes if change.key != "data.classes"]
    return [change for change in changes if not change.first == change.last == change.now]


def accept_changes(config: Config, env: Environment) -> list[str]:
    """Reports changes since earlier starts of a run with checkpoints; returns their lines. config: resolved.

    ValueError if a key has changed that must not. All processes must call it.
    """
    changes = env.on_rank_0(lambda: _found(config, env))
    refused = [change for change in changes if rule_of(change.key).refused and change.last != change.now]
    lines = _lines([change for change in changes if change not in refused], "accepted")
    for line in (["changed since this run began:", *(f"  {line}" for line in lines)]) if lines else []:
        env.say(line)
    if refused:
        raise ValueError(
            f"{config.run}: expected the config that this run began with, found {'; '.join(_lines(refused, 'refused'))}"
            f". Restore these keys, or choose another `run` (weights={config.run} starts it from this one's weights)"
        )
    return lines


def _found(config: Config, env: Environment) -> list[Change]:
    starts = earlier_starts(Path(config.run))
    if not starts:
        return []
    beginnings = [path for path in starts if path.stem.endswith("-000000000")]
    try:
        first, last = (load_start(path) for path in ((beginnings or starts)[-1], starts[-1]))
    except ValueError as error:
        env.say(f"{error}; so changes since the last start are unknown")
        return []
    return changes_since(first, last, config)


def _lines(changes: list[Change], verdict: str) -> list[str]:
    """One line for each rule."""
    rules = dict.fromkeys(rule_of(change.key) for change in changes)
    return [
        f"{', '.join(str(change) for change in changes if rule_of(change.key) is rule)}: {verdict}: {rule.effect}"
        for rule in rules
    ]


def _shown(value: Any) -> str:
    """The value as YAML writes it, on one line, shortened."""
    text = " ".join(shown(value).split())
    return text if len(text) <= 80 else f"{text[:77]}..."
