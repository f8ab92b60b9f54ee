"""Checks whether a config fits its set: objects that would not be trained on, schedules that cannot complete."""

from data.shards.index import ShardIndex
from data.wording import counted
from train.config import Config
from train.evaluation.evaluator import no_objects
from train.schedule.duration import RunLength
from train.schedule.learning_rate import misfit

TRIAL_STEPS = 120  # a run this short is a trial of the program: nobody expects a trained network


def remarks_on(config: Config, index: ShardIndex) -> list[str]:
    """Remarks for display. config: resolved.

    ValueError for a set without an object to train on, and for a schedule that does not fit its run, unless it is a
    trial.
    """
    counts, slots = index.trained_per_image(), config.data.num_slots
    if not counts.any():
        raise no_objects(index, "train on", "are annotations missing?")
    remarks = []
    run = RunLength(index.num_samples, config.epochs)
    problem = misfit(config.schedule.in_images(run), run)
    if problem and run.images > TRIAL_STEPS * config.data.batch:
        raise ValueError(problem)
    if problem:
        remarks.append(f"schedule: {problem}")
    shape = config.schedule.shape
    if shape != "steps" and (config.schedule.drops or config.schedule.drop_images):
        remarks.append(f"schedule.shape={shape}: the drops of the rate are not used; they need schedule.shape=steps")
    horizon = config.step.in_images(run).ema_images or 0
    if horizon > run.images / 2:
        remarks.append(
            f"step.ema: averages over {horizon:,} images, in a run of {run.images:,}, so the first weights count; set "
            f"step.ema_images={max(run.images // 16, 1)}"
        )
    if (counts > slots).any():
        remarks.append(
            f"data.truth_slots={slots}: more objects on {counted((counts > slots).sum(), 'image')}, up to "
            f"{counts.max():,}; left out each time: {(counts - slots).clip(min=0).sum():,}; set data.truth_slots=auto"
        )
    return remarks
