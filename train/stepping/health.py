"""Warnings about a run that cannot learn: each given once, with its remedy, at the log line where it shows."""

import math
from typing import NamedTuple

from train.detection.statistics import Losses
from train.schedule.duration import RunLength
from train.schedule.learning_rate import learning_rate
from train.stepping.step import Step
from train.stepping.update import Tally

PERSISTENT = 50  # steps skipped in a row; fp16 needs at most 40 to find its scale
SENSIBLE_SHARE = 0.25  # of a run, after which something should have been learned
LEAST_STEPS = 200  # before a verdict: a trial learns nothing


class _State(NamedTuple):
    """The state of a run at a log line. losses and clipped: since the previous line."""

    losses: Losses
    share: float  # of the run so far
    steps: int
    burning_in: bool
    relative_rate: float  # of the schedule's largest
    clipped: float  # share of the steps


class HealthCheck:
    """Checks at every log line whether the run can learn."""

    def __init__(self, step: Step, run: RunLength, num_classes: int) -> None:
        self.schedule, self.env, self.run = step.schedule, step.env, run
        self.adaptive = step.config.optimizer == "adamw"  # unaffected by a gradient's scale, clipped or not
        self.chance = 1 / num_classes  # probability of the right class by guessing
        self._steps, self._had_truths, self._given = 0, False, set[str]()

    def check(self, images: int, losses: Losses, tally: Tally) -> None:
        """Prints new warnings. FloatingPointError if gradients are no longer finite. losses: means since the last call.

        All processes must call it. Waits for the device.
        """
        skipped, in_a_row = int(tally.skipped), int(tally.skipped_in_a_row)
        if in_a_row >= PERSISTENT:
            raise FloatingPointError(
                f"the last {in_a_row} steps before image {images} were skipped: their gradients were not finite. The "
                "weights are from before them; start again with a lower schedule.rate or a longer burn-in"
            )
        self._steps += tally.steps
        self._had_truths |= float(losses.truths) > 0
        state = _State(
            losses,
            images / self.run.images,
            self._steps,
            images < (self.schedule.burn_in_images or 0),
            learning_rate(images, self.schedule) / self.schedule.rate,
            int(tally.clipped) / max(tally.steps - skipped, 1),
        )
        for text in self._warnings(state):
            if text not in self._given:
                self._given.add(text)
                self.env.say(f"WARNING: {text}")

    def _warnings(self, state: _State) -> list[str]:
        if state.steps < LEAST_STEPS or state.share < SENSIBLE_SHARE or not math.isfinite(float(state.losses.total)):
            return []
        count = float(state.losses.truths)
        found = []
        if not self._had_truths:
            found.append("no object has been trained on yet; look at the set: python -m data.shards show SHARDS x.jpg")
        if state.burning_in and state.relative_rate < 0.05:
            found.append(
                "a quarter of the run is over and the rate is still nearly 0; shorten schedule.burn_in, or train longer"
            )
        if not state.burning_in and state.relative_rate < 0.05 and state.share < 0.5:
            found.append(
                "the rate is already nearly 0 in the first half of the run; set a later schedule.end or schedule.drops"
            )
        if not self.adaptive and state.clipped > 0.95:
            found.append("nearly every step is clipped, which lowers the effective rate; raise step.clip_norm")
        if count and self.chance < 1 and float(state.losses.class_score) / count < 1.1 * self.chance:
            found.append(
                "classes are still guessed (their loss is near ln C per object); raise schedule.rate, or look at the "
                "labels: python -m data.shards show SHARDS x.jpg"
            )
        if count and float(state.losses.object_score) / count < 1.5 * float(state.losses.any_score):
            found.append(
                "boxes of objects score no higher than others; raise schedule.rate, or look at boxes and anchors: "
                "python -m data.anchors SHARDS"
            )
        return found
